"""The program as a process: streams, exit codes, and what a user's mistake looks like."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.cli.failures import explain
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]

CODE = "import sys; from pgqueue.cli import main; sys.exit(main())"
CHILD = [sys.executable, "-m", "pgqueue"]


def shell(
    *arguments: str, cwd: Path | None = None, dsn: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") and name != "DATABASE_URL"
    }
    return subprocess.run(
        [*CHILD, *arguments],
        cwd=cwd,
        env=kept | {"PGQUEUE_DATABASE_URL": dsn} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("migrate",),
        ("migrate", "status"),
        ("migrate", "down"),
        ("worker",),
        ("enqueue",),
        ("jobs",),
        ("jobs", "list"),
        ("jobs", "show"),
        ("jobs", "requeue"),
        ("jobs", "cancel"),
        ("jobs", "delete"),
        ("status",),
    ],
)
def test_every_command_has_help(command: tuple[str, ...], pgqueue: Run) -> None:
    answer = pgqueue(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Usage: pgqueue" in answer.out


def test_help_imports_no_driver_no_orm_and_no_migrations() -> None:
    code = f"import sys\n{CODE.replace('sys.exit(main())', 'main()')}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    imported = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "typer" in imported
    assert not imported & {"psycopg", "psycopg_pool", "sqlalchemy", "alembic"}


def test_the_version_is_printed(pgqueue: Run) -> None:
    assert re.fullmatch(r"pgqueue \d+\.\d+\.\d+\S*\n", pgqueue("--version").out)


@pytest.mark.parametrize("arguments", [("bogus",), ("jobs", "list", "--bogus"), ("jobs", "show")])
def test_a_usage_error_is_exit_code_2(pgqueue: Run, arguments: tuple[str, ...]) -> None:
    answer = pgqueue(*arguments)
    assert (answer.code, answer.out) == (2, "")


def test_without_a_database_it_says_what_to_set() -> None:
    done = shell("status")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no database is set: pass --dsn")
    assert done.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_exit_code_3_and_no_password() -> None:
    done = shell("jobs", "list", "--dsn", "postgresql://me:hunter2@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: cannot connect to postgresql://me:***@127.0.0.1:1/none")
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "command", [("status",), ("jobs", "list"), ("enqueue", "t"), ("migrate", "--check")]
)
def test_a_missing_schema_is_exit_code_4(
    pgqueue: Run, empty_dsn: str, command: tuple[str, ...]
) -> None:
    answer = pgqueue(*command, "--dsn", empty_dsn)
    assert (answer.code, answer.out) == (4, "")
    assert "missing" in answer.err
    assert answer.err.count("\n") == 1


def test_the_option_comes_before_the_environment(dsn: str, empty_dsn: str) -> None:
    assert shell("status", "--dsn", dsn, dsn=empty_dsn).returncode == 0
    assert shell("status", DATABASE_URL=dsn).returncode == 0


def test_a_database_error_is_one_line_without_a_traceback(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("alter table pgqueue.jobs rename column queue to queues")
    done = shell("jobs", "list", dsn=dsn)
    assert done.returncode == 4
    assert re.fullmatch(r"error: .*queue.*\n", done.stderr)


def test_a_table_that_is_locked_is_one_line_too(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    with connection.transaction():
        connection.execute("lock table pgqueue.jobs")
        answer = pgqueue("jobs", "list")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: the database refused (55P03): ")
    assert "try again" in answer.err
    assert answer.err.count("\n") == 1


def test_the_schema_is_installed_checked_and_removed(pgqueue: Run, empty_dsn: str) -> None:
    def migrate(*arguments: str) -> Answer:
        return pgqueue("migrate", *arguments, "--dsn", empty_dsn)

    assert migrate().out.startswith("migrated from nothing to ")
    assert migrate().out.startswith("nothing to do")
    assert migrate("--check").code == 0
    assert "state:   current" in migrate("status").out
    assert json.loads(migrate("status", "--json").out)["pending"] == []
    refused = migrate("down", "base")
    assert (refused.code, refused.out) == (2, "")
    assert migrate("down", "base", "--yes").code == 0
    assert migrate("--check").code == 4


def test_the_dsn_may_stand_before_the_subcommand(pgqueue: Run, empty_dsn: str) -> None:
    assert "state:   missing" in pgqueue("migrate", "--dsn", empty_dsn, "status").out


def test_a_query_that_took_too_long_is_told_what_to_do() -> None:
    code, text = explain(psycopg.errors.QueryCanceled("canceling statement"))
    assert code == 1
    assert "ask for less, by --state, --queue or --limit" in text


def test_a_defect_of_ours_is_no_user_s_mistake() -> None:
    assert explain(KeyError("x"))[0] is None


def test_the_sql_of_a_migration_is_printed_without_a_database() -> None:
    done = shell("migrate", "--sql")
    assert (done.returncode, done.stderr) == (0, "")
    assert "create schema pgqueue" in done.stdout.lower()


@pytest.mark.parametrize(
    ("source", "spec", "words"),
    [
        ("", "nosuch:app", "there is no module 'nosuch'"),
        ("1 / 0", "shop:app", "ZeroDivisionError"),
        ("x = 1", "shop:app", "has no attribute 'app'"),
        ("x = 1", "shop.py", "'shop.py' does not name an app"),
    ],
)
def test_a_worker_without_a_usable_app_is_exit_code_2(
    tmp_path: Path, source: str, spec: str, words: str
) -> None:
    (tmp_path / "shop.py").write_text(source)
    done = shell("worker", "-A", spec, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.parametrize("queues", ["", ",", "a b", "x" * 51, "a=0", "a=x", "=2", "a=1001", "a="])
def test_a_worker_of_impossible_queues_is_exit_code_2(tmp_path: Path, queues: str) -> None:
    (tmp_path / "shop.py").write_text("from pgqueue import PgQueue\napp = PgQueue('host=nowhere')")
    done = shell("worker", "-A", "shop:app", "--queues", queues, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --queues")


@pytest.mark.parametrize("command", [("migrate",), ("status",), ("worker", "-A", "shop:app")])
def test_without_libpq_every_command_says_what_to_install(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    hidden = tmp_path / "psycopg_c"  # psycopg is told to take this implementation: it is broken
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('libpq.so.5: cannot open it')")
    done = shell(*command, cwd=tmp_path, PSYCOPG_IMPL="c", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: psycopg finds no libpq (couldn't import")
    assert 'libpq.so.5: cannot open it): pip install "pgqueue-jobs[binary]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_the_list_quietly(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 20000)")
    command = f"{' '.join(CHILD)} jobs list --all | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"PGQUEUE_DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("20000\t")
    assert done.stderr == ""


WORKING_SHOP = """
from pgqueue import PgQueue
app = PgQueue()

@app.task
def add(x: int, y: int) -> int:
    return x + y
"""


def test_a_worker_runs_what_was_enqueued_and_stops_when_told(
    tmp_path: Path, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    (tmp_path / "shop.py").write_text(WORKING_SHOP)
    enqueued = shell(
        "enqueue", "shop.add", "--args", '{"x": 1, "y": 2}', "--queue", "sums", dsn=dsn
    )
    assert enqueued.stdout == "enqueued job 1\n"
    options = ("-A", "shop", "--queues", "other, sums", "--concurrency", "2", "--threads", "1")
    worker = subprocess.Popen(
        [*CHILD, "worker", *options, "--no-listen", "--poll-interval", "0.1"],
        cwd=tmp_path,
        env=os.environ | {"PGQUEUE_DATABASE_URL": dsn},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        query = "select result from pgqueue.jobs where state = 'succeeded'"
        wait_until(lambda: connection.execute(query).fetchone() == (3,))
        row = connection.execute("select queues, concurrency, threads from pgqueue.workers")
        assert row.fetchone() == (["other", "sums"], 2, 1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
    finally:
        worker.kill()
        worker.communicate()
