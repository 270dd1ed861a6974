"""On a terminal: tables, questions, and an interrupt."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgqueue.cli import jobs, output, status
from tests.cli.test_program import CHILD
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Answer

    Insert = Callable[..., int]


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, dsn: str, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*CHILD, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ
            | {"PGQUEUE_DATABASE_URL": dsn, "TERM": "xterm", "COLUMNS": "90", "TZ": "UTC"},
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, words: str) -> None:
        while words not in self.seen:
            self.seen += self._read() or pytest.fail(f"{words!r} is not in {self.seen!r}")

    def rest(self) -> str:
        while text := self._read():
            self.seen += text
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def code(self) -> int:
        self.rest()
        return self.process.wait(timeout=30)

    def _read(self) -> str:
        # Linux ends a terminal's output with EIO, others with an empty read.
        with contextlib.suppress(OSError):
            return os.read(self.master, 65536).decode()
        return ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(dsn: str) -> Iterator[Callable[..., Terminal]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Terminal:
            started = Terminal(dsn, *arguments)
            stack.callback(started.close)
            return started

        yield start


def test_a_list_is_a_table_and_says_who_waits(
    terminal: Callable[..., Terminal], insert: Insert
) -> None:
    insert(task="mail.send", run_at="2999-01-01 00:00+00", queue="mail")
    insert(task="mail.send", run_at="2999-01-01 00:00+00", attempt=2)
    out = terminal("jobs", "list").rest()
    for words in ("attempt", "waiting until 2999-01-01 00:00:00", "retrying at 2999-01-01", "2/8"):
        assert words in out


def test_long_data_is_cut_but_never_the_id(
    terminal: Callable[..., Terminal], insert: Insert
) -> None:
    job_id = insert(task="x" * 128, args='{"x": "' + "y" * 500 + '"}')
    out = terminal("jobs", "list").rest()
    assert f" {job_id} " in out
    assert "x" * 50 in out
    assert "y" * 50 not in out
    assert "…" in out


def test_data_cannot_steer_the_terminal(terminal: Callable[..., Terminal], insert: Insert) -> None:
    job_id = insert(args='{"x": "\x9b2J\u202e [bold]"}', key="\x1b[2J")
    for command in (("jobs", "list"), ("jobs", "show", str(job_id))):
        out = terminal(*command).rest()
        assert r"\u009b2J" in out
        assert "\x9b" not in out
        assert "\x1b[2J" not in out


def test_nothing_to_show_is_said(terminal: Callable[..., Terminal]) -> None:
    assert "no jobs match" in terminal("jobs", "list").rest()
    out = terminal("status").rest()
    assert "no live jobs" in out
    assert "no workers: start one with pgqueue worker" in out


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
def test_a_bulk_delete_asks_first(
    terminal: Callable[..., Terminal],
    insert: Insert,
    connection: psycopg.Connection[Any],
    answer: str,
    left: int,
) -> None:
    insert(state="dead")
    started = terminal("jobs", "delete", "--all")
    started.read_until("delete 1 job? [y/N] ")
    started.type(answer)
    assert started.code() == left  # 1: a no is a failure, for scripts
    assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (left,)


def test_an_interrupt_is_exit_code_130(
    terminal: Callable[..., Terminal], insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    insert(state="dead")
    started = terminal("jobs", "delete", "--all")
    started.read_until("[y/N] ")
    started.process.send_signal(signal.SIGINT)
    assert started.code() == 130
    assert "Traceback" not in started.seen
    assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)


@pytest.fixture
def dead(insert: Insert, connection: psycopg.Connection[Any]) -> int:
    """A dead job: the same error three times, with a long message."""
    job_id = insert(task="shop.charge", state="dead", lease=6, finished_at="now", attempt=3)
    for lease in (1, 3, 5):
        connection.execute(
            "insert into pgqueue.attempts "
            "(job_id, lease, attempt, outcome, error_type, message, traceback, fingerprint) "
            "values (%s, %s, 1, 'dead', 'ValueError', %s, 'Traceback: here', '00112233445566aa')",
            [job_id, lease, "first line " + "y" * 200 + "\nsecond \x1b[2J line"],
        )
    return job_id


def test_groups_fit_the_terminal_and_name_what_to_do_next(
    terminal: Callable[..., Terminal], dead: int
) -> None:
    out = terminal("jobs", "groups").rest()
    for words in ("ValueError", "shop.charge in default", "00112233445566aa", f"job {dead}", "…"):
        assert words in out
    assert "second" not in out
    plain = re.sub("\x1b\\[[0-9;]*m", "", out)
    assert max(map(len, plain.splitlines())) <= 90
    assert "\x1b[1m" in out


def test_a_job_is_shown_in_colours_and_a_traceback_once(
    terminal: Callable[..., Terminal], dead: int
) -> None:
    out = terminal("jobs", "show", str(dead)).rest()
    assert out.count("Traceback: here") == 1
    assert out.count("the same traceback") == 2
    assert r"second \u001b[2J line" in out
    assert "\x1b[1;31mdead" in out


def test_no_colours_where_they_are_not_wanted(
    terminal: Callable[..., Terminal], dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = terminal("jobs", "show", str(dead)).rest()
    assert "\x1b[31m" not in out
    assert "\x1b[1;31m" not in out


def test_progress_is_written_over_itself(
    terminal: Callable[..., Terminal], connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "insert into pgqueue.jobs (task, state) select 't', 'dead' from generate_series(1, 2500)"
    )
    out = terminal("jobs", "requeue", "--all").rest()
    assert "\r2000 jobs so far " in out
    assert out.endswith("\r\nrequeued 2500 jobs\r\n")


def test_an_interrupted_requeue_says_how_far_it_came(
    terminal: Callable[..., Terminal], dsn: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "insert into pgqueue.jobs (task, state) select 't', 'dead' from generate_series(1, 1500)"
    )
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
    with psycopg.connect(dsn) as rival:
        rival.execute("select from pgqueue.jobs where id = 1200 for update")
        started = terminal("jobs", "requeue", "--all")
        name = connection.info.dbname
        wait_until(lambda: connection.execute(waits, [name]).fetchone(), what="it waits")
        started.process.send_signal(signal.SIGINT)
        assert started.code() == 130
    assert "requeued 1000 jobs" in started.seen
    assert "Traceback" not in started.seen
    left = connection.execute("select count(*) from pgqueue.jobs where state = 'dead'").fetchone()
    assert left == (500,)


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_terminal(
    width: int,
    pgqueue: Callable[..., Answer],
    insert: Insert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one of jobs that wait, and of queues that hold something in every column."""
    monkeypatch.setenv("COLUMNS", str(width))
    for module in (output, jobs, status):
        monkeypatch.setattr(module, "for_people", lambda: True)
    args = Jsonb({"order": "x" * 100})
    insert(task="shop.send_receipt", run_at=datetime.now(UTC), state="dead", args=args)
    soon = datetime.now().astimezone() + timedelta(seconds=30)
    insert(task="shop.send_receipt", run_at=soon, args=args)
    for command in (["jobs", "list"], ["status"]):
        answer = pgqueue(*command)
        assert answer.code == 0
        assert "default" in answer.out
        assert max(len(line) for line in answer.out.splitlines()) <= width
