"""Latency with an idle worker: from the commit of an enqueue to the start of its handler."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain, stamps
from benchmarks.finding import Finding, percentile

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bench import Bench
    from benchmarks.drain import Contestant

SAMPLES: Final = 500
PAUSE: Final = (0.01, 0.05)
"""Seconds between two enqueues: the worker has gone back to sleep."""
ENQUEUE: Final = "select pgqueue.enqueue(%s)"
TARGETS: Final = {50: 1.5, 95: 3.0, 99: 6.0}
"""Milliseconds, by percentile."""
TIMES: Final = 1.3
"""Of the yardstick's latency, at most."""


def measure(place: Bench) -> list[Finding]:
    ours: list[list[float]] = []
    yards: list[list[float]] = []
    for number in range(place.rounds):
        ways = [(ours, bench.worker("--processes", "1")), (yards, bench.module("waker"))]
        for found, contestant in ways if number % 2 else reversed(ways):
            found.append(latencies(place, contestant))
        for name, found in (("pgqueue", ours), ("yardstick", yards)):
            shown = ", ".join(f"p{p} {percentile(found[-1], p):.2f}" for p in TARGETS)
            print(f"  round {number + 1}: {name} {shown} ms", flush=True)
    return [*_findings(ours, yards)]


def _findings(ours: list[list[float]], yards: list[list[float]]) -> list[Finding]:
    found = []
    for percent, target in TARGETS.items():
        own = [percentile(values, percent) for values in ours]
        yard = [percentile(values, percent) for values in yards]
        times = [a / b for a, b in zip(own, yard, strict=True)]
        found += [
            Finding(what=f"p{percent}", values=own, unit="ms", at_most=target),
            Finding(what=f"p{percent}, the yardstick", values=yard, unit="ms"),
            Finding(what=f"p{percent}, over the yardstick", values=times, at_most=TIMES),
        ]
    return found


def latencies(place: Bench, contestant: Contestant) -> list[float]:
    """Milliseconds from commit to handler, of one worker in a new database."""
    with (
        bench.fresh(place.databases) as (dsn, connection, _),
        stamps.file() as started,
        drain.running(contestant, dsn, **{stamps.VARIABLE: str(started.path)}) as process,
    ):
        drain.until(lambda: asleep(connection), "the worker does not go to sleep", process)
        committed = [
            _enqueue(connection, number) for number in range(max(place.sized(SAMPLES), 100))
        ]
        drain.until(lambda: started.count() == len(committed), "not all jobs started", process)
        at = started.read()
    return [(at[number] - commit) / 1e6 for number, commit in enumerate(committed)]


def asleep(connection: psycopg.Connection[Any]) -> bool:
    """Whether a worker has asked to be notified."""
    return bool(connection.execute("select from pgqueue.sleepers").rowcount)


def _enqueue(connection: psycopg.Connection[Any], number: int) -> int:
    time.sleep(random.uniform(*PAUSE))
    document = {"task": "async_stamp", "args": {"number": number, "text": "x" * 72}}
    connection.execute(ENQUEUE, [json.dumps(document)], prepare=True)
    return time.monotonic_ns()
