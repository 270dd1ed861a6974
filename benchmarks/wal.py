"""WAL that a job writes from its enqueue to its success, without page images and autovacuum."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bench import Bench
    from benchmarks.server import Databases

JOBS: Final = 50_000
CHUNK: Final = 1_000
ENQUEUE: Final = "select pgqueue.enqueue(%s)"
POSITION: Final = "select (pg_current_wal_insert_lsn() - '0/0')::bigint"


def measure(place: Bench) -> list[Finding]:
    with place.own_server(full_page_writes="off", autovacuum="off") as databases:
        ways = {
            "one by one": lambda: _enqueued(place, databases, 1),
            "by thousands": lambda: _enqueued(place, databases, CHUNK),
            "worked": lambda: _worked(place, databases),
        }
        rounds = [found for _, found in bench.interleaved(place, ways)]
    one = [found["one by one"] + found["worked"] for found in rounds]
    many = [found["by thousands"] + found["worked"] for found in rounds]
    return [
        _finding("a job, enqueued in a transaction of its own", one, at_most=1250),
        _finding(f"a job, enqueued with {CHUNK - 1} others", many, at_most=1250),
        _finding("of it the enqueue, in a transaction of its own", _all(rounds, "one by one")),
        _finding(f"of it the enqueue, with {CHUNK - 1} others", _all(rounds, "by thousands")),
        _finding("of it claim and finish", _all(rounds, "worked")),
    ]


def _finding(what: str, values: list[float], at_most: float | None = None) -> Finding:
    return Finding(what=what, values=values, unit="bytes", at_most=at_most, digits=0)


def _all(rounds: list[dict[str, float]], name: str) -> list[float]:
    return [found[name] for found in rounds]


def _enqueued(place: Bench, databases: Databases, together: int) -> float:
    """Bytes a job, with so many in one transaction."""
    jobs = place.sized(JOBS)
    job = {"task": "async_nothing", "args": {"number": 12345, "text": "x" * 72}}
    document = json.dumps(job if together == 1 else [job] * together)
    with bench.fresh(databases) as (_, connection, _):
        connection.execute(ENQUEUE, [document])
        before = _position(connection)
        for _ in range(jobs // together):
            connection.execute(ENQUEUE, [document], prepare=True)
        return (_position(connection) - before) / jobs


def _worked(place: Bench, databases: Databases) -> float:
    """Bytes a job, from its claim to its success."""
    with bench.fresh(databases, place.sized(JOBS)) as (dsn, connection, span):
        before = _position(connection)
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            span.worked_by(process, connection)
            return (_position(connection) - before) / place.sized(JOBS)


def _position(connection: psycopg.Connection[Any]) -> int:
    [(position,)] = connection.execute(POSITION)
    return int(position)
