"""Ten thousand handlers that sleep in one process, and jobs that do nothing beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain
from benchmarks.bench import Span
from benchmarks.finding import Finding

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SLEEPERS: Final = 10_000
SLOTS: Final = 100
"""Free beside the sleepers, as many as a worker has by default."""
JOBS: Final = 100_000
SECONDS: Final = 12.0
"""That each sleeps: all must be asleep, and the others done, before the first wakes up."""
SLEEP: Final = """
    insert into pgqueue.jobs (task, args)
    select 'async_sleep', jsonb_build_object('seconds', %s::float8) from generate_series(1, %s)"""
ASLEEP: Final = "select count(*) from pgqueue.jobs where state = 'running' and task = 'async_sleep'"
FIRST_UP: Final = "select extract(epoch from min(finished_at)) from pgqueue.jobs where id <= %s"
LAST_DONE: Final = "select extract(epoch from max(finished_at)) from pgqueue.jobs where id > %s"
UP_TO: Final = "select extract(epoch from max(started_at) - min(started_at)) from pgqueue.jobs"


def measure(place: Bench) -> list[Finding]:
    sleepers, asleep_in = place.sized(SLEEPERS), []
    roomy = ("--concurrency", str(sleepers + SLOTS))

    def beside() -> float:
        rate, seconds = _beside(place, sleepers, roomy)
        asleep_in.append(seconds)
        return rate

    ways = {
        "default": lambda: _alone(place, ()),
        "roomy": lambda: _alone(place, roomy),
        "beside": beside,
    }
    rounds = [found for _, found in bench.interleaved(place, ways)]
    return [
        Finding(
            what=f"jobs/s beside {sleepers:,} sleepers, over a worker without",
            values=[found["beside"] / found["default"] for found in rounds],
            at_least=0.9,
        ),
        Finding(
            what="the same, over one with that concurrency and no sleepers",
            values=[found["beside"] / found["roomy"] for found in rounds],
        ),
        Finding(what=f"until {sleepers:,} sleep", values=asleep_in, unit="s"),
    ]


def _alone(place: Bench, options: tuple[str, ...]) -> float:
    with (
        bench.fresh(place.databases, place.sized(JOBS)) as (dsn, connection, span),
        drain.running(bench.worker("--processes", "1", *options), dsn) as process,
    ):
        return span.worked_by(process, connection)


def _beside(place: Bench, sleepers: int, options: tuple[str, ...]) -> tuple[float, float]:
    """Jobs a second beside the sleepers, and the seconds until all slept."""
    with bench.fresh(place.databases) as (dsn, connection, _):

        def figure(question: str, *values: object) -> float:
            [(answer,)] = connection.execute(question, values)
            return float(answer)

        connection.execute(SLEEP, (SECONDS, sleepers))
        bench.settle(connection)
        with drain.running(bench.worker("--processes", "1", *options), dsn) as process:
            drain.until(lambda: figure(ASLEEP) == sleepers, "not all sleep", process)
            asleep_in = figure(UP_TO)
            rate = bench.put(connection, place.sized(JOBS)).worked_by(process, connection)
            Span(1, sleepers, "async_sleep").worked_by(process, connection)
            if figure(FIRST_UP, sleepers) < figure(LAST_DONE, sleepers):
                raise drain.BenchmarkError("a sleeper woke up before the other jobs were done")
    return rate, asleep_in
