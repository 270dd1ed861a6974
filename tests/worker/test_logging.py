"""What worker processes log: which job it is about, in lines for people or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.worker.processes import Supervised

if TYPE_CHECKING:
    from tests.worker.table import Table


def logged(dsn: str, table: Table, *options: str) -> tuple[dict[str, int], list[str]]:
    """The jobs that ran, and the lines that were written."""
    ids = {task: table.add_one(task, max_attempts=1) for task in ("plain", "coroutine", "fails")}
    with Supervised(dsn, *options, app="tests.worker.talks:app") as supervised:
        table.wait_final(ids.values())
        supervised.terminate()
        assert supervised.wait() == 0
        return ids, supervised.output().splitlines()


def test_in_json_every_line_is_an_object_and_a_handlers_lines_name_its_job(
    dsn: str, table: Table
) -> None:
    ids, lines = logged(dsn, table, "--log-format", "json")
    assert f"OWN {ids['plain']} plain mine" in lines  # the app's own handler, in its own format
    objects: list[dict[str, Any]] = [
        json.loads(line) for line in lines if not line.startswith("OWN ")
    ]
    by_message = {line["message"]: line for line in objects}
    of = {"attempt": 1, "queue": "default", "level": "WARNING", "logger": "some.library"}
    thread = by_message["from a thread\nforged"]
    assert thread.items() >= {"job_id": ids["plain"], "task": "plain", **of}.items()
    loop = by_message["from the loop"]
    assert loop.items() >= {"job_id": ids["coroutine"], "task": "theirs", **of}.items()
    [failed] = [line for line in objects if line.get("event") == "JobFailed"]
    assert (failed["job_id"], failed["task"], failed["queue"]) == (ids["fails"], "fails", "default")
    assert {"WorkerStarted", "WorkerStopped"} <= {line.get("event") for line in objects}


def test_in_text_a_handlers_lines_name_its_job_and_cannot_forge_others(
    dsn: str, table: Table
) -> None:
    ids, lines = logged(dsn, table)
    suffix = f"from a thread\\nforged [job {ids['plain']}, plain, attempt 1, default]"
    assert any(line.endswith(suffix) for line in lines)
    assert "forged" not in lines
