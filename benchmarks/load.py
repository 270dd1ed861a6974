"""Latency at half the maximum load, with producers that do not wait for the worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain, stamps
from benchmarks.finding import Finding, percentile
from benchmarks.latency import asleep
from benchmarks.pump import Pump

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.pump import Pumped
    from benchmarks.stamps import Stamps

TOGETHER: Final = 10
"""Jobs that one transaction enqueues."""
PRODUCERS: Final = 16


def measure(place: Bench) -> list[Finding]:
    most, late, found = [], [], []
    for number in range(place.rounds):
        maximum, lateness, latencies = _round(place)
        most.append(maximum)
        late.append(lateness)
        found.append(latencies)
        shown = ", ".join(f"p{p} {percentile(latencies, p):.1f}" for p in (50, 95, 99))
        print(f"  round {number + 1}: at most {maximum:,.0f} jobs/s; half: {shown} ms", flush=True)
    return [
        Finding(what="maximum load", values=most, unit="jobs/s", digits=0),
        _each("p50", found, 50),
        _each("p95", found, 95),
        _each("p99", found, 99, at_most=25.0),
        Finding(what="the producers' own delay, p99", values=late, unit="ms"),
    ]


def _each(
    what: str, rounds: list[list[float]], percent: float, *, at_most: float | None = None
) -> Finding:
    values = [percentile(latencies, percent) for latencies in rounds]
    return Finding(what=f"half of it: {what}", values=values, unit="ms", at_most=at_most)


def _round(place: Bench) -> tuple[float, float, list[float]]:
    """The maximum in jobs/s; at half of it, the producers' delay and all latencies, in ms."""
    seconds = 1.0 if place.quick else 4.0
    with (
        bench.fresh(place.databases) as (dsn, connection, _),
        stamps.file() as started,
        drain.running(
            bench.worker("--processes", "1"), dsn, **{stamps.VARIABLE: str(started.path)}
        ) as process,
        Pump(dsn, PRODUCERS, _document) as pump,
    ):

        def worked_off() -> None:
            jobs = pump.begun * TOGETHER
            drain.until(lambda: started.count() >= jobs, "not all jobs started", process)
            drain.until(lambda: asleep(connection), "the worker does not go to sleep", process)

        worked_off()
        pump.run(0.5)  # both get to know each other
        worked_off()
        flood = pump.run(seconds)
        worked_off()
        maximum = _rate(flood, started)
        half = pump.run(seconds, rate=maximum / 2 / TOGETHER)
        worked_off()
        at = started.read()
    latencies = [
        (at[number] - committed) / 1e6
        for turn, committed in half.committed.items()
        for number in range(turn * TOGETHER, (turn + 1) * TOGETHER)
    ]
    return maximum, percentile(half.late, 99) * 1e3, latencies


def _rate(flood: Pumped, started: Stamps) -> float:
    """Jobs a second, from the first commit to the start of the last job."""
    jobs = len(flood.committed) * TOGETHER
    took = max(started.read().values()) - min(flood.committed.values())
    return jobs / (took / 1e9)


def _document(number: int) -> bytes:
    jobs = [
        {"task": "async_stamp", "args": {"number": number * TOGETHER + each, "text": "x" * 72}}
        for each in range(TOGETHER)
    ]
    return json.dumps(jobs).encode()
