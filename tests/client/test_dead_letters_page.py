"""The page about the desk: its commands and its Python do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import fingerprint
from pgqueue.cli import main
from tests.store.tables import Tables

if TYPE_CHECKING:
    import psycopg

PAGE = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text("utf-8")
COMMANDS = re.findall(r"(?m)^\$ pgqueue (.*)$", PAGE)
OUTAGE, BUG = "198e24ddb38818d2", "07c8588d4a8b1be9"


@pytest.fixture
def night(connection: psycopg.Connection[Any]) -> Tables:
    """What the page tells of, with fewer jobs."""
    tables = Tables(connection)
    jobs = dict.fromkeys(range(90400, 90413), ("shop.charge", "shop.GatewayDown", OUTAGE))
    jobs |= dict.fromkeys((90388, 88120, 87003), ("shop.mail", "KeyError", BUG))
    for job_id, (task, error, print_) in jobs.items():
        tables.run(
            "insert into pgqueue.jobs (id, task, state, lease, finished_at, args) "
            "overriding system value values (%s, %s, 'dead', 2, now(), %s)",
            job_id,
            task,
            '{"order_id": 17, "currency": "eur"}',
        )
        tables.run(
            "insert into pgqueue.attempts "
            "(job_id, lease, attempt, outcome, error_type, fingerprint) "
            "values (%s, 1, 1, 'dead', %s, %s)",
            job_id,
            error,
            print_,
        )
    return tables


def test_the_commands_of_the_page_work_one_after_the_other(
    night: Tables,
    dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "desk_page_shop.py").write_text("from pgqueue import PgQueue\napp = PgQueue()\n")
    night.run("update pgqueue.jobs set finished_at = now() - interval '8 d' where id = 88120")
    out = {}
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
        words = [word.replace("shop:app", "desk_page_shop:app") for word in words]
        assert main(words) == 0, command
        out[command] = capsys.readouterr().out
    assert out["jobs requeue 90412"] == "requeued 1 job\n"
    assert out[COMMANDS[4]].startswith("would requeue 12 jobs")
    assert out[COMMANDS[5]] == "requeued 12 jobs\n"
    assert out[COMMANDS[6]] == "deleted 1 job\n"
    query = "select args from pgqueue.jobs where id = 90388"
    assert night.run(query) == [({"order_id": 17, "currency": "EUR", "lines": [1, 2]},)]
    assert night.run("select id from pgqueue.jobs where state = 'dead'") == [(87003,)]


def test_the_python_of_the_page_works(
    night: Tables, dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    names: dict[str, Any] = {"dead_id": 90388, "other_id": 88120}
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "dead-letters.md", "exec"), names)
    names["app"].close()
    printed = capsys.readouterr().out
    assert f"13 shop.GatewayDown shop.charge {OUTAGE} None\n" in printed
    assert "13 requeued 0 refused\n" in printed
    assert night.run("select count(*) from pgqueue.jobs where state = 'ready'") == [(15,)]


def test_the_fingerprint_has_as_many_digits_as_the_page_says() -> None:
    assert f"{fingerprint.LENGTH} hexadecimal digits" in PAGE
