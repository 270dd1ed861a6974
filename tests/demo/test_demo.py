"""The demo end to end: real documents, real workers, a real kill."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.demo import reconcile
from pgqueue.demo.app import QUEUE
from pgqueue.demo.command import run
from pgqueue.demo.database import Given, opened, prepared
from pgqueue.demo.screen import Screen
from pgqueue.demo.workers import Workers
from pgqueue.errors import ConfigError, PgQueueError
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.connections import Connection
    from pgqueue.demo.reconcile import Line


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for a demo's own files; the server's account may enter it."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "workers.log"


def start(temporary: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start `pgqueue demo` as a user does, in an environment that speaks of other servers."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(temporary), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_demo_holds_in_a_given_database(
    empty_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--dsn", empty_dsn, "--limit", "60", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert "60 documents, 2 workers, seed 5" in said
    assert re.search(r"worker \d+ \(process \d+\) killed with SIGKILL", said)
    assert re.search(r"[1-9]\d* of these jobs had started, and were rescued", said)
    assert len(re.findall(r"^ok  ", said, re.MULTILINE)) == 17
    assert "FAILED" not in said
    assert "everything held" in said
    assert "reconciliation()" in said
    with psycopg.connect(empty_dsn) as connection:
        fates: dict[str, int] = dict(
            connection.execute(
                "select fate, count(*) from pgqueue_demo.documents group by fate"
            ).fetchall()
        )
        assert sum(fates.values()) == 57
        assert (fates["fails once"], fates["fails always"]) == (3, 1)
        assert connection.execute("select count(*) from pgqueue.workers").fetchone() == (0,)


def test_a_demo_repeats_on_a_server_of_its_own_whatever_the_environment_says(
    temporary: Path,
) -> None:
    elsewhere = {"PGQUEUE_DATABASE_URL": "postgresql://nowhere", "PGSERVICE": "none"}
    process = start(temporary, "--repeat", "2", "--limit", "40", "--seed", "7", **elsewhere)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "1 of 2  seed 7  40 documents" in said
    assert "2 of 2  seed 8  40 documents" in said
    assert "2 of 2 held: 80 documents" in said
    assert list(temporary.iterdir()) == []


def test_sigterm_ends_a_demo_with_nothing_left_behind(temporary: Path) -> None:
    with start(temporary, "--limit", "60") as process:
        assert process.stdout is not None
        wait_until(lambda: "server is ready" in process.stdout.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


def test_a_line_that_does_not_hold_fails_the_demo_and_says_how_to_repeat_it(
    empty_dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = reconcile.lines

    def plant_and_reconcile(connection: Connection) -> list[Line]:
        connection.execute(
            "insert into pgqueue_demo.counts select * from pgqueue_demo.counts limit 1"
        )
        return sums(connection)

    monkeypatch.setattr(reconcile, "lines", plant_and_reconcile)
    assert run(["--dsn", empty_dsn, "--limit", "20", "--seed", "3"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"FAILED +counts of a document that was counted before +0 +1\n", said)
    assert "NOT EVERYTHING HELD" in said
    assert "pgqueue demo --seed 3 --limit 20 --workers 2" in said


def test_only_the_workers_own_processes_are_theirs_to_be_killed(dsn: str, log: Path) -> None:
    with Workers(dsn, 2, log) as workers, psycopg.connect(dsn, autocommit=True) as connection:

        def processes() -> list[int]:
            workers.check()
            return [pid for (pid,) in connection.execute("select pid from pgqueue.workers")]

        wait_until(lambda: len(processes()) == 2)
        assert all(workers.owns(pid) for pid in processes())
        assert not workers.owns(os.getpid())
        assert not workers.owns(2**22 + 1)
        assert workers.stop() == 0


def test_workers_that_cannot_start_say_why(empty_dsn: str, log: Path) -> None:
    with Workers(empty_dsn, 2, log) as workers:
        wait_until(lambda: _ended(workers))
        with pytest.raises(PgQueueError, match=r"exit code 4:(.|\n)*run pgqueue migrate"):
            workers.check()


def _ended(workers: Workers) -> bool:
    try:
        workers.check()
    except PgQueueError:
        return True
    return False


def test_a_database_with_jobs_of_others_is_refused_unless_forced(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into pgqueue.jobs (queue, task) values (%s, 'x')", [QUEUE])
    assert Given(dsn, force=False).fresh() == dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into pgqueue.jobs (queue, task) values ('default', 'x')")
    with pytest.raises(ConfigError, match=r"holds jobs that are not the demo's.*--force"):
        Given(dsn, force=False).fresh()
    assert Given(dsn, force=True).fresh() == dsn


def test_a_schema_of_the_same_name_is_not_dropped(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create schema pgqueue_demo create table thesis (id bigint)")
    with pytest.raises(ConfigError, match="was not made by the demo"), prepared(dsn):
        pass
    with psycopg.connect(dsn) as connection:
        connection.execute("select from pgqueue_demo.thesis")


def test_an_earlier_demo_is_forgotten_and_other_jobs_stay(dsn: str) -> None:
    with prepared(dsn) as connection:
        connection.execute(
            "insert into pgqueue.jobs (queue, task) values ('default', 'x'), (%s, 'x')", [QUEUE]
        )
        connection.execute(
            "insert into pgqueue.attempts (job_id, lease, attempt, outcome) "
            "select id, 1, 1, 'dead' from pgqueue.jobs"
        )
    with prepared(dsn) as connection:
        kept = connection.execute(
            "select queue from pgqueue.jobs join pgqueue.attempts on job_id = id"
        ).fetchall()
        orphans = connection.execute("select count(*) from pgqueue.attempts").fetchone()
    assert (kept, orphans) == ([("default",)], (1,))


def test_a_second_demo_in_one_database_is_refused(dsn: str) -> None:
    with (
        prepared(dsn),
        pytest.raises(ConfigError, match="another demo runs in database"),
        prepared(dsn),
    ):
        pass


def test_an_embedded_server_is_gone_with_its_data() -> None:
    with opened(None, keep=False, force=False) as place:
        first, second = place.fresh(), place.fresh()
        assert first != second
        with psycopg.connect(second) as connection:
            found = connection.execute("select datname from pg_database where datname ~ '^demo'")
            assert found.fetchall() == [("demo_2",)]
            [(data,)] = connection.execute("show data_directory").fetchall()
    assert not Path(data).parent.exists()


def test_progress_on_a_terminal_takes_one_line_and_fits_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    Screen(out).progress("x" * 100)
    Screen(out).say("killed")
    assert re.fullmatch(r"\x1b\[K +0\.0 s  x+\r\x1b\[K +0\.0 s  killed\n", out.getvalue())
    assert len(out.getvalue().partition("\r")[0].removeprefix("\x1b[K")) == 39


def test_progress_in_a_pipe_is_plain_lines() -> None:
    out = io.StringIO()
    Screen(out).progress("working")
    assert re.fullmatch(r" +0\.0 s  working\n", out.getvalue())


def test_a_quiet_screen_shows_only_results() -> None:
    out = io.StringIO()
    screen = Screen(out, quiet=True)
    screen.say("working")
    screen.show("result")
    assert (screen.due(), out.getvalue()) == (False, "result\n")
