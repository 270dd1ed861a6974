"""A hundred thousand jobs of unknown tasks before those that a worker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bench import Bench, Span

UNKNOWN: Final = 100_000
KNOWN: Final = 200_000
# From the worker's registration to its first claim of a job that it knows.
UNTIL: Final = """
    select extract(epoch from
        (select min(started_at) from pgqueue.jobs where id between %s and %s)
        - (select max(started_at) from pgqueue.workers))::float8"""


def measure(place: Bench) -> list[Finding]:
    waits: list[float] = []

    def behind() -> float:
        rate, wait = _drain(place, place.sized(UNKNOWN))
        waits.append(wait)
        return rate

    ways = {"without": lambda: _drain(place, 0)[0], "behind": behind}
    rounds = [found for _, found in bench.interleaved(place, ways)]
    return [
        Finding(
            what="known jobs/s once the unknown were released, over a lane without",
            values=[found["behind"] / found["without"] for found in rounds],
            at_least=0.9,
        ),
        Finding(what=f"until {place.sized(UNKNOWN):,} were released", values=waits, unit="s"),
    ]


def _drain(place: Bench, unknown: int) -> tuple[float, float]:
    """Known jobs a second, and the seconds from the worker's start to its first of them."""
    with bench.fresh(place.databases) as (dsn, connection, _):
        if unknown:
            bench.put(connection, unknown, task="gone")
        known = bench.put(connection, place.sized(KNOWN))
        bench.settle(connection)
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            rate = known.worked_by(process, connection)
            return rate, _wait(connection, known)


def _wait(connection: psycopg.Connection[Any], known: Span) -> float:
    [(seconds,)] = connection.execute(UNTIL, (known.first, known.last))
    return float(seconds)
