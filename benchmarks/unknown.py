"""A hundred thousand jobs of unknown tasks before those that a worker knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    from benchmarks.bench import Bench

UNKNOWN: Final = 100_000
KNOWN: Final = 200_000
GONE: Final = "gone"
# Whether the known jobs have begun, and no unknown one is held any more.
RELEASED: Final = """
    select exists (select from pgqueue.jobs where id = %s and state <> 'ready')
        and not exists (select from pgqueue.jobs where state = 'running' and task = %s)"""
# Since a moment: the seconds before it, from the worker's start on, and the known jobs' rate.
SINCE: Final = """
    select extract(epoch from %(at)s - (select max(started_at) from pgqueue.workers))::float8,
        (count(*) / extract(epoch from max(finished_at) - %(at)s))::float8
    from pgqueue.jobs where id between %(first)s and %(last)s and finished_at > %(at)s"""


@dataclass(frozen=True)
class Drain:
    """Known jobs a second in all; the seconds until all were released; the rate from then on."""

    rate: float
    seconds: float
    after: float


def measure(place: Bench) -> list[Finding]:
    drains: list[Drain] = []

    def behind() -> float:
        drains.append(_drain(place, place.sized(UNKNOWN)))
        return drains[-1].rate

    ways = {"without": lambda: _drain(place, 0).rate, "behind": behind}
    free = [found["without"] for _, found in bench.interleaved(place, ways)]
    return [
        Finding(
            what="known jobs/s once the unknown were released, over a lane without",
            values=[each.after / rate for each, rate in zip(drains, free, strict=True)],
            at_least=0.9,
        ),
        Finding(
            what="the same, from the first known job on",
            values=[each.rate / rate for each, rate in zip(drains, free, strict=True)],
        ),
        Finding(
            what=f"until {place.sized(UNKNOWN):,} were released",
            values=[each.seconds for each in drains],
            unit="s",
        ),
    ]


def _drain(place: Bench, unknown: int) -> Drain:
    with bench.fresh(place.databases) as (dsn, connection, _):
        if unknown:
            bench.put(connection, unknown, task=GONE)
        known = bench.put(connection, place.sized(KNOWN))
        bench.settle(connection)

        def released() -> bool:
            return bool(connection.execute(RELEASED, (known.first, GONE)).fetchall()[0][0])

        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            drain.until(released, "the unknown jobs are not released", process)
            [(at,)] = connection.execute("select clock_timestamp()")
            rate = known.worked_by(process, connection)
            since = {"at": at, "first": known.first, "last": known.last}
            [(seconds, after)] = connection.execute(SINCE, since)
    if after is None:
        raise drain.BenchmarkError("the unknown jobs were released after the known were done")
    return Drain(rate, seconds, after)
