"""Measure one entry: its producer, then the drain of a queue that stands full."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import usage
from benchmarks.peers import broker
from benchmarks.peers.catalog import Entry, Keys, Rows
from benchmarks.peers.environments import ROOT
from benchmarks.peers.figures import Figure
from benchmarks.peers.programs import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.peers.databases import Templates

PATIENCE: Final = 60.0
"""Seconds in which a peer must begin, and then end, its jobs."""
POLL: Final = 0.005
SELDOM: Final = 0.04
"""Seconds between two looks for the end, where a look is costly."""

ENQUEUED_ONE: Final = 500
ENQUEUED_BULK: Final = 10_000
LSN: Final = "select pg_current_wal_insert_lsn() - '0/0'"


class PeerError(Exception):
    """A peer that did not come to a figure; the message is the reason in the table."""


@dataclass(frozen=True)
class Bench:
    """Where entries are measured.

    Attributes:
        templates: fresh databases.
        valkey: the program of a Redis-compatible server; None where there is none.
        jobs: in the drain of the fastest; slower entries have fewer.
    """

    templates: Templates
    valkey: Path | None
    jobs: int

    def measure(self, entry: Entry, python: Path) -> Figure:
        """Measure an entry in its environment.

        Raises:
            PeerError: it failed, took too long, or did not do every job.
        """
        run = Program(entry, python)
        figure = self._drained(entry, run)
        if entry.enqueues:
            with self._place(entry, run) as place:
                many = ENQUEUED_BULK if entry.bulk else 0
                took = run.enqueue(place, ENQUEUED_ONE, many)
            figure.one = ENQUEUED_ONE / took.one
            figure.bulk = many / took.bulk if many and took.bulk else None
        return figure

    def _drained(self, entry: Entry, run: Program) -> Figure:
        jobs = min(entry.jobs, self.jobs)
        with self._place(entry, run) as place:
            run.enqueue(place, 0, jobs)
            place.settle()
            with run.worker(place) as process:
                return place.watch(process, jobs)

    @contextlib.contextmanager
    def _place(self, entry: Entry, run: Program) -> Iterator[Place]:
        """An empty queue, alone on its server."""
        if isinstance(entry.seen, Rows):
            with self.templates.fresh(run.kind, run.install) as dsn:
                yield Database(dsn, entry.seen)
        elif self.valkey is None:
            raise PeerError("no Redis-compatible server")
        else:
            with broker.running(self.valkey, durable=entry.durable) as started:
                yield Redis(started, entry.seen)


class Program:
    """The steps of one entry's program, in its environment."""

    def __init__(self, entry: Entry, python: Path) -> None:
        self.kind = f"{entry.program}-{'tuned' if entry.tuned else 'defaults'}"
        self._command = [str(python), "-m", "benchmarks.peers.programs", entry.program]
        self._environment = {
            **os.environ,
            shared.TUNED: "1" if entry.tuned else "0",
            "PYTHONPATH": str(ROOT),
        }

    def install(self, dsn: str) -> None:
        """Make the schema in a database."""
        self._step(Database.environment_of(dsn), "install")

    def enqueue(self, place: Place, one: int, many: int) -> shared.Enqueued:
        """Enqueue jobs, and say how long that took."""
        said = self._step(place.environment, "enqueue", str(one), str(many))
        return shared.Enqueued(**json.loads(said.splitlines()[-1]))

    @contextlib.contextmanager
    def worker(self, place: Place) -> Iterator[subprocess.Popen[bytes]]:
        """Run the worker for the block; what it wrote is shown when something went wrong."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*self._command, "work"],
                cwd=ROOT,
                env={**self._environment, **place.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            except PeerError as error:
                log.seek(0)
                raise PeerError(f"{error}: {tail(log.read())}") from None
            finally:
                # It is measured: what it would do to end well is not.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _step(self, environment: dict[str, str], *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env={**self._environment, **environment},
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        if done.returncode:
            raise PeerError(f"{arguments[0]} failed: {tail(done.stderr)}")
        return done.stdout.decode()


class Place:
    """A queue of one measurement, and how its progress is seen."""

    environment: dict[str, str]
    """What tells a program where it is."""

    def settle(self) -> None:
        """Leave no work behind for the drain that belongs to the enqueueing."""

    def watch(self, process: subprocess.Popen[bytes], jobs: int) -> Figure:
        """Follow a drain from its first claim to its end."""
        raise NotImplementedError


class Database(Place):
    """A queue in PostgreSQL."""

    def __init__(self, dsn: str, seen: Rows) -> None:
        self.environment = self.environment_of(dsn)
        self._dsn = dsn
        self._seen = seen

    @staticmethod
    def environment_of(dsn: str) -> dict[str, str]:
        return {shared.DSN: dsn, "PGQUEUE_DATABASE_URL": dsn}

    def settle(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")

    def watch(self, process: subprocess.Popen[bytes], jobs: int) -> Figure:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            backend = connection.info.backend_pid
            server = usage.server_pid(backend)

            def asked(question: str) -> Any:
                row = connection.execute(question.encode()).fetchone()
                return row[0] if row else None

            written = asked(LSN)
            drain = Watched(
                process,
                began=lambda: bool(asked(self._seen.began)),
                ended=lambda: asked(self._seen.left) == 0,
                server=lambda: server and usage.cpu_seconds(server, without=backend),
            )
            figure = drain.figure(jobs)
            figure.wal_bytes = int(asked(LSN) - written)
            row = connection.execute(self._seen.done.encode()).fetchone()
        assert row is not None
        done, seconds = row
        if done not in {None, jobs}:
            raise PeerError(f"{done} of {jobs} jobs are recorded as done")
        figure.seconds = seconds or figure.seconds
        return figure


class Redis(Place):
    """A queue in a Redis-compatible server."""

    def __init__(self, started: broker.Broker, seen: Keys) -> None:
        self.environment = {shared.BROKER: started.url}
        self._broker = started
        self._seen = seen

    def watch(self, process: subprocess.Popen[bytes], jobs: int) -> Figure:
        def left() -> int:
            if self._seen.done:
                return jobs - sum(map(self._broker.number, self._seen.done))
            return sum(map(self._broker.number, self._seen.left))

        drain = Watched(
            process,
            began=lambda: left() < jobs,
            ended=lambda: left() == 0,
            server=lambda: usage.cpu_seconds(self._broker.pid),
        )
        return drain.figure(jobs)


@dataclass(frozen=True)
class Watched:
    """A drain that is looked at until it ends.

    Attributes:
        process: the worker.
        began, ended: look whether it has.
        server: CPU seconds of the server so far.
    """

    process: subprocess.Popen[bytes]
    began: Callable[[], bool]
    ended: Callable[[], bool]
    server: Callable[[], float | None]

    def figure(self, jobs: int) -> Figure:
        """What it took, by the watcher's clock."""
        self._until(self.began, "no job was claimed", POLL)
        since, python, server = time.monotonic(), self._python(), self.server()
        self._until(self.ended, "not all jobs are done", SELDOM)
        return Figure(
            jobs,
            time.monotonic() - since,
            difference(self._python(), python),
            difference(self.server(), server),
        )

    def _python(self) -> float | None:
        return usage.cpu_seconds(self.process.pid)

    def _until(self, condition: Callable[[], bool], what: str, pause: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            # What ended by itself may have done its jobs just before: look once more.
            ended = self.process.poll() is not None
            if ended and not condition():
                raise PeerError(f"{what}, and its worker ended")
            if time.monotonic() > deadline:
                raise PeerError(f"{what} after {PATIENCE:g} s")
            time.sleep(pause)


def difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def tail(output: bytes) -> str:
    """The last lines that a program wrote."""
    return " / ".join(output.decode("utf-8", "replace").strip().splitlines()[-3:])[-400:]
