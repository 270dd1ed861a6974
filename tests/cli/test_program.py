"""The program as a process: streams, exit codes, and what a user's mistake looks like."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]

CODE = "import sys; from pgqueue.cli import main; sys.exit(main())"


def shell(
    *arguments: str, cwd: Path | None = None, dsn: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") and name != "DATABASE_URL"
    }
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
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


def test_a_missing_schema_is_exit_code_4(empty_dsn: str) -> None:
    for command in (("status",), ("jobs", "list"), ("enqueue", "t"), ("migrate", "--check")):
        done = shell(*command, dsn=empty_dsn)
        assert (done.returncode, done.stdout) == (4, ""), command
        assert "missing" in done.stderr
        assert "Traceback" not in done.stderr


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


def test_the_schema_is_installed_checked_and_removed(empty_dsn: str) -> None:
    assert shell("migrate", dsn=empty_dsn).stdout.startswith("migrated from nothing to ")
    assert shell("migrate", dsn=empty_dsn).stdout.startswith("nothing to do")
    assert shell("migrate", "--check", dsn=empty_dsn).returncode == 0
    assert "state:   current" in shell("migrate", "status", dsn=empty_dsn).stdout
    refused = shell("migrate", "down", "base", dsn=empty_dsn)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert shell("migrate", "down", "base", "--yes", dsn=empty_dsn).returncode == 0
    assert shell("migrate", "--check", dsn=empty_dsn).returncode == 4


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


@pytest.mark.parametrize("queues", ["", ",", "a b", "x" * 51])
def test_a_worker_of_impossible_queues_is_exit_code_2(tmp_path: Path, queues: str) -> None:
    (tmp_path / "shop.py").write_text("from pgqueue import PgQueue\napp = PgQueue('host=nowhere')")
    done = shell("worker", "-A", "shop:app", "--queues", queues, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --queues")
