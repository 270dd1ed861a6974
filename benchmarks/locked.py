"""One job's row that somebody keeps locked while a worker runs all the others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import bench, drain
from benchmarks.bench import TASK, Span
from benchmarks.finding import Finding

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from benchmarks.bench import Bench

JOBS: Final = 300_000
MINUTE: Final = 60.0
SHORT_SLEEP: Final = """
    insert into pgqueue.jobs (task, args) values ('async_sleep', '{"seconds": 0.5}')
    returning id"""
RUNNING: Final = "select from pgqueue.jobs where id = %s and state = 'running'"


def measure(place: Bench) -> list[Finding]:
    ways = {
        "free": lambda: _free(place),
        "beside": lambda: _beside(place),
        "ready": lambda: _locked_ready(place),
        "running": lambda: _locked_running(place),
    }
    rounds = [found for _, found in bench.interleaved(place, ways)]
    jobs = place.sized(JOBS)
    lost = [jobs / found["running"] - jobs / found["free"] for found in rounds]
    return [
        Finding(
            what="the others' jobs/s, a ready job locked for the whole drain",
            values=[found["ready"] / found["free"] for found in rounds],
            at_least=0.95,
        ),
        Finding(
            what="the same over a drain beside a transaction that locks no job",
            values=[found["ready"] / found["beside"] for found in rounds],
        ),
        Finding(
            what="a running job locked: what a minute keeps after the seconds lost",
            values=[1 - max(seconds, 0) / MINUTE for seconds in lost],
            at_least=0.95,
        ),
        Finding(what="a running job locked: seconds lost", values=lost, unit="s"),
        Finding(
            what="a running job locked: jobs/s in that drain",
            values=[found["running"] / found["free"] for found in rounds],
        ),
    ]


def _free(place: Bench) -> float:
    with (
        bench.fresh(place.databases, place.sized(JOBS)) as (dsn, connection, span),
        drain.running(bench.worker("--processes", "1"), dsn) as process,
    ):
        return span.worked_by(process, connection)


def _beside(place: Bench) -> float:
    """Whoever locks a row has a transaction, which holds back the cleaning of what is dead."""
    with (
        bench.fresh(place.databases, place.sized(JOBS)) as (dsn, connection, span),
        psycopg.connect(dsn) as idle,
    ):
        idle.execute("select pg_current_xact_id()")
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            return span.worked_by(process, connection)


def _locked_ready(place: Bench) -> float:
    """The first job is locked before the worker starts; all others are to succeed."""
    with bench.fresh(place.databases, place.sized(JOBS)) as (dsn, connection, span):
        others = Span(span.first + 1, span.last, TASK)
        with (
            _lock(dsn, span.first),
            drain.running(bench.worker("--processes", "1"), dsn) as process,
        ):
            return others.worked_by(process, connection)


def _locked_running(place: Bench) -> float:
    """A job is locked while its handler runs; its outcome comes in the middle of the others'."""
    with bench.fresh(place.databases) as (dsn, connection, _):
        [(slow,)] = connection.execute(SHORT_SLEEP)
        span = bench.put(connection, place.sized(JOBS))
        bench.settle(connection)
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            _until_running(connection, slow, process)
            with _lock(dsn, slow):
                return span.worked_by(process, connection)


def _until_running(
    connection: psycopg.Connection[Any], id_: int, process: subprocess.Popen[bytes]
) -> None:
    def runs() -> bool:
        return bool(connection.execute(RUNNING, [id_]).rowcount)

    drain.until(runs, "the job to lock does not start", process)


@contextlib.contextmanager
def _lock(dsn: str, id_: int) -> Iterator[None]:
    with psycopg.connect(dsn) as connection:
        connection.execute("select from pgqueue.jobs where id = %s for update", [id_])
        yield
