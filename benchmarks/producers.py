"""Sixteen producers that commit enqueues while a worker is busy: what being woken costs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding
from benchmarks.latency import asleep
from benchmarks.pump import Pump

if TYPE_CHECKING:
    from benchmarks.bench import Bench

PRODUCERS: Final = 16
WARM: Final = 1.0
"""Seconds until the worker is busy; not counted."""
DOCUMENT: Final = b'{"task": "async_nothing", "args": {"number": 1, "text": "%s"}}' % (b"x" * 72)
ALWAYS: Final = "insert into pgqueue.sleepers values ('default', 1)"
"""A sleeper that never wakes up: every enqueue notifies."""


def measure(place: Bench) -> list[Finding]:
    ways = {
        "without": lambda: _commits(place, "--no-listen"),
        "with": lambda: _commits(place),
        "always": lambda: _commits(place, always=True),
    }
    rounds = [found for _, found in bench.interleaved(place, ways)]
    return [
        Finding(
            what="commits/s with wake-ups, over a worker that never asks for them",
            values=[found["with"] / found["without"] for found in rounds],
            at_least=0.9,
        ),
        Finding(
            what="the same if every enqueue notified",
            values=[found["always"] / found["without"] for found in rounds],
        ),
        Finding(
            what="with wake-ups",
            values=[found["with"] for found in rounds],
            unit="commits/s",
            digits=0,
        ),
    ]


def _commits(place: Bench, *options: str, always: bool = False) -> float:
    """Enqueues committed a second."""
    seconds = 1.0 if place.quick else 4.0
    listens = "--no-listen" not in options
    with (
        bench.fresh(place.databases) as (dsn, connection, _),
        drain.running(bench.worker("--processes", "1", *options), dsn) as process,
        Pump(dsn, PRODUCERS, lambda _: DOCUMENT) as pump,
    ):
        if listens:
            drain.until(lambda: asleep(connection), "the worker does not go to sleep", process)
        if always:
            connection.execute(ALWAYS)
        pump.run(WARM)
        return len(pump.run(seconds).committed) / seconds
