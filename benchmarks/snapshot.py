"""A snapshot that somebody holds open for a whole drain, so that nothing can be vacuumed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

JOBS: Final = 200_000
# The seconds that each tenth of the jobs took, in the order in which they were finished.
TENTHS: Final = """
    select extract(epoch from max(finished_at) - min(finished_at))::float8
    from (
        select finished_at, ntile(10) over (order by finished_at) as tenth
        from pgqueue.jobs where id between %s and %s
    ) as finished
    group by tenth order by tenth"""


def measure(place: Bench) -> list[Finding]:
    decays: dict[bool, list[float]] = {True: [], False: []}
    totals = []

    def drained(*, held: bool) -> float:
        rate, decay = _drain(place, held=held)
        decays[held].append(decay)
        return rate

    ways = {"without": lambda: drained(held=False), "held": lambda: drained(held=True)}
    totals = [found["held"] / found["without"] for _, found in bench.interleaved(place, ways)]
    tenths = "the last tenth's rate over the first's"
    return [
        Finding(what=tenths, values=decays[True], at_least=0.9),
        Finding(what=f"{tenths}, without", values=decays[False]),
        Finding(what="the whole, over the drain without", values=totals, at_least=0.85),
    ]


def _drain(place: Bench, *, held: bool) -> tuple[float, float]:
    """Jobs a second, and the last tenth's rate over the first's."""
    with (
        bench.fresh(place.databases, place.sized(JOBS)) as (dsn, connection, span),
        _snapshot(dsn) if held else contextlib.nullcontext(),
        drain.running(bench.worker("--processes", "1"), dsn) as process,
    ):
        rate = span.worked_by(process, connection)
        tenths = connection.execute(TENTHS, (span.first, span.last)).fetchall()
    return rate, float(tenths[0][0] / tenths[-1][0])


@contextlib.contextmanager
def _snapshot(dsn: str) -> Iterator[None]:
    connection: psycopg.Connection[Any]
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from pgqueue.workers")
        yield
