"""One drain: jobs that stand ready are worked by one contestant, and what that took."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import psycopg

from benchmarks import app, usage
from benchmarks.report import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.server import Databases

ROOT: Final = Path(__file__).parent.parent
POLL: Final = 0.005
"""Seconds between two looks at one row: too seldom to matter, and often enough for CPU times."""
PATIENCE: Final = 120.0
"""Seconds in which a contestant must begin, and then end, its jobs."""

WORKED: Final = """
    select count(*) filter (where state = 'succeeded' and lease = 2 and attempt = 1),
        extract(epoch from max(finished_at) - min(started_at))::float8
    from pgqueue.jobs"""
UNFINISHED: Final = "select count(*) from pgqueue.jobs where state in ('ready', 'running')"

PGQUEUE_WORKER: Final = (
    str(Path(sysconfig.get_path("scripts"), "pgqueue")),
    *("worker", "-A", "benchmarks.app:app", "--processes", "1"),
)
RELAXED_WORKER: Final = (*PGQUEUE_WORKER, "--no-synchronous-commit")
YARDSTICK: Final = (sys.executable, "-m", "benchmarks.yardstick")


class BenchmarkError(Exception):
    """A measurement that did not come to a figure."""


@dataclass(frozen=True)
class Contestant:
    """A program that works the jobs of the database in PGQUEUE_DATABASE_URL, as users start it.

    Attributes:
        label: its line in the table.
        task: the name that its jobs have.
        command: run in the repository; stopped by SIGTERM if it does not end by itself.
        variables: of its environment.
    """

    label: str
    task: str
    command: tuple[str, ...] = field(repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


BARE: Final = "bare"
YARD: Final = "yardstick"
CONTESTANTS: Final = {
    BARE: Contestant("claim and finish, no handlers", "async_nothing", (*YARDSTICK, "--bare")),
    YARD: Contestant("yardstick", "async_nothing", YARDSTICK),
    "pgqueue": Contestant("pgqueue, async handlers", "async_nothing", PGQUEUE_WORKER),
    "threads": Contestant("pgqueue, def handlers *", "thread_nothing", PGQUEUE_WORKER),
    "uvloop": Contestant(
        "pgqueue, async handlers on uvloop *",
        "async_nothing",
        PGQUEUE_WORKER,
        {app.LOOP: "uvloop"},
    ),
    "relaxed": Contestant("pgqueue, no synchronous commit *", "async_nothing", RELAXED_WORKER),
}


def measure(contestant: Contestant, databases: Databases, jobs: int) -> Measurement:
    """Let one contestant drain a fresh database.

    Raises:
        BenchmarkError: it ended early, took too long, or did not run every job exactly once.
    """
    with databases.filled(contestant.task, jobs) as name:
        commits = databases.commits(name)
        with running(contestant, databases.dsn(name)) as process:
            figures = watch(process, databases.dsn(name), jobs)
        until(lambda: databases.clients(name) == 0, "its connections are not closed")
        figures.commits = databases.commits(name) - commits
    return figures


@contextlib.contextmanager
def running(
    contestant: Contestant, dsn: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a contestant; stop it at the end. What it wrote is shown when something went wrong."""
    environment = {**os.environ, **contestant.variables, **variables, "PGQUEUE_DATABASE_URL": dsn}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            contestant.command, cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            yield process
            if process.poll() is None:
                process.terminate()
            if code := process.wait(PATIENCE):
                raise BenchmarkError(f"it ended with exit code {code}")  # noqa: TRY301 - one story
        except (BenchmarkError, subprocess.TimeoutExpired) as error:
            raise BenchmarkError(f"{contestant.label}: {error}\n{_tail(log)}") from None
        finally:
            process.kill()
            process.wait()


def watch(process: subprocess.Popen[bytes], dsn: str, jobs: int) -> Measurement:
    """Follow a drain from its first claim to its end, by the database's clock."""
    with psycopg.connect(dsn) as connection:
        # One read-only transaction, one snapshot a statement: it holds no vacuum back.
        server = usage.server_pid(connection.info.backend_pid)

        def asked(question: str) -> int:
            row = connection.execute(question).fetchone()
            assert row is not None
            return int(row[0])

        def cpu() -> tuple[float | None, float | None]:
            without = connection.info.backend_pid
            spent = usage.cpu_seconds(server, without=without) if server else None
            return usage.cpu_seconds(process.pid), spent

        def wait_for(question: str, what: str) -> None:
            until(lambda: asked(question) > 0, what, process)

        written = asked("select pg_current_wal_insert_lsn() - '0/0'")
        [(first, last)] = connection.execute("select min(id), max(id) from pgqueue.jobs")
        began = f"select count(*) from pgqueue.jobs where id = {first} and state <> 'ready'"
        ended = f"select count(*) from pgqueue.jobs where id = {last} and finished_at is not null"
        wait_for(began, "no job was claimed")
        before = cpu()
        wait_for(ended, "the last job is not finished")
        until(lambda: asked(UNFINISHED) == 0, "not all jobs are finished", process)
        after = cpu()
        written = asked("select pg_current_wal_insert_lsn() - '0/0'") - written
        [(right, seconds)] = connection.execute(WORKED)
    if right != jobs:
        raise BenchmarkError(f"{right} of {jobs} jobs succeeded in one attempt under one lease")
    python, spent = (
        None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)
    )
    return Measurement(jobs, seconds, python, spent, written, 0)


def until(
    condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait for a condition; BenchmarkError when it takes too long, or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        # What ended by itself may have finished its jobs just before: look once more.
        if process is not None and process.poll() is not None and not condition():
            raise BenchmarkError(f"{what}, and it has ended")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what} after {PATIENCE:g} s")
        time.sleep(POLL)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-30:])
