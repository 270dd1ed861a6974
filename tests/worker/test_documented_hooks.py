"""The programs of the pages about hooks and logs do what the pages say."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import JobContext
from pgqueue.telemetry import events
from pgqueue.telemetry.fields import JobFields
from pgqueue.telemetry.lines import JsonLines
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worker.table import Table

DOCS = Path(__file__).parents[2] / "docs"


def programs(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def run(program: str, **names: Any) -> ModuleType:
    module = ModuleType("shop")
    module.__dict__.update(names)
    exec(compile(program, "shop.py", "exec", dont_inherit=True), module.__dict__)
    return module


@pytest.fixture
def shop(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    module = run(programs("hooks.md")[0])
    yield module
    module.app.close()


def test_the_first_program_of_the_hooks_page(
    shop: ModuleType, dsn: str, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(JobFields())
    shop.tenant.set("acme")
    good, bad = shop.greet.enqueue("you"), shop.greet.enqueue("")
    running = Running(shop.app, dsn, QUICK, ["default"])
    try:
        table.wait([good.id, bad.id], "succeeded", "dead")
        assert table.row(good.id)["result"] == "hello you, of acme"
        wait_until(lambda: any("is dead" in line for line in caplog.messages))
    finally:
        running.stop()
    dead = f"job {bad.id} (shop.greet) is dead: ValueError: nobody to greet"
    [alert] = [r for r in caplog.records if r.getMessage() == dead]
    assert (alert.__dict__["job_id"], alert.__dict__["task"]) == (bad.id, "shop.greet")
    [took] = [r for r in caplog.records if r.getMessage().startswith("shop.greet took")]
    assert (took.__dict__["job_id"], took.__dict__["queue"]) == (good.id, "default")
    assert not running.seen(events.HookFailed)


def test_the_three_forms_of_middleware_are_accepted(shop: ModuleType) -> None:
    forms = programs("hooks.md")[2]
    before = len(shop.app.layers)
    run(forms, app=shop.app)
    kinds = [layer.is_async for layer in shop.app.layers[before:]]
    assert kinds == [None, False, True]
    context = JobContext(id=1, task="t", queue="q", attempt=1, max_attempts=1, lease=1)
    assert shop.greet.around(context, {"name": "you"}).startswith("hello you")


def test_the_query_of_the_hooks_page_finds_dead_jobs(table: Table) -> None:
    page = (DOCS / "hooks.md").read_text("utf-8")
    [query] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert table.connection.execute(query).fetchall() == []
    id_ = table.add_one("t")
    table.connection.execute("update pgqueue.jobs set state = 'dead', finished_at = now()")
    [row] = table.connection.execute(query).fetchall()
    assert row[:3] == (id_, "t", "default")


def test_the_program_of_the_logging_page_covers_its_handler() -> None:
    module = run(programs("logging.md")[0])
    logging.getLogger().removeHandler(module.handler)
    assert any(isinstance(each, JobFields) for each in module.handler.filters)


def test_the_lines_that_the_logging_page_shows_have_the_form_that_is_written() -> None:
    page = (DOCS / "logging.md").read_text("utf-8")
    shown = [json.loads(line) for line in page.splitlines() if line.startswith('{"time"')]
    record = logging.LogRecord("shop", logging.WARNING, "shop.py", 1, "slow", (), sys.exc_info())
    record.__dict__ |= {"job_id": 4, "task": "shop.greet", "attempt": 1, "queue": "default"}
    written = json.loads(JsonLines().format(record))
    assert written | {"time": ""} == shown[1] | {"time": ""}
    assert list(written) == list(shown[1])
    assert list(shown[0]) == [*list(written)[:4], "event", *list(written)[4:]]
