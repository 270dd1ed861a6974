"""Ephemeral jobs against jobs that are kept: how fast they are drained, and the WAL of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bench import Bench
    from benchmarks.server import Databases

JOBS: Final = 100_000
LOGGED: Final = 50_000
POSITION: Final = "select (pg_current_wal_insert_lsn() - '0/0')::bigint"
# From the first job on that was not finished when we looked last.
WAITING: Final = """
    select id from pgqueue.jobs
    where id >= %s and state in ('ready', 'running') order by id limit 1"""
TOUCHED: Final = "select from pgqueue.jobs where id = %s and state = 'ready'"


def measure(place: Bench) -> list[Finding]:
    ways = {
        "kept": lambda: _drained(place.databases, "async_nothing", place.sized(JOBS))[0],
        "ephemeral": lambda: _drained(place.databases, "async_ephemeral", place.sized(JOBS))[0],
    }
    rates = [found["ephemeral"] / found["kept"] for _, found in bench.interleaved(place, ways)]
    with place.own_server(full_page_writes="off", autovacuum="off") as databases:
        logged = {
            "kept": lambda: _drained(databases, "async_nothing", place.sized(LOGGED))[1],
            "ephemeral": lambda: _drained(databases, "async_ephemeral", place.sized(LOGGED))[1],
        }
        rounds = [found for _, found in bench.interleaved(place, logged)]
    return [
        Finding(what="drained, over jobs that are kept", values=rates),
        _bytes("ephemeral", rounds),
        _bytes("kept", rounds),
    ]


def _bytes(way: str, rounds: list[dict[str, float]]) -> Finding:
    what = f"WAL of claim and finish, {way}"
    return Finding(what=what, values=[found[way] for found in rounds], unit="bytes", digits=0)


def _drained(databases: Databases, task: str, jobs: int) -> tuple[float, float]:
    """Jobs a second, and bytes of WAL a job, from the first claim to the last finish."""
    with bench.fresh(databases) as (dsn, connection, _):
        span = bench.put(connection, jobs, task=task)
        bench.settle(connection)
        written = _position(connection)
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            at = span.first
            drain.until(
                lambda: not connection.execute(TOUCHED, [at]).rowcount, "nothing begins", process
            )
            began = time.perf_counter()

            def done() -> bool:
                nonlocal at
                row = connection.execute(WAITING, [at]).fetchone()
                at = row[0] if row else span.last
                return row is None

            drain.until(done, f"not all jobs of {task} are finished", process)
            took = time.perf_counter() - began
            written = _position(connection) - written
    return jobs / took, written / jobs


def _position(connection: psycopg.Connection[Any]) -> int:
    [(position,)] = connection.execute(POSITION)
    return int(position)
