"""Dramatiq on its Redis broker. A message is acknowledged after it ran.

A greater prefetch tripled it here.
https://dramatiq.io/guide.html
"""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.programs import dramatiq_command
from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, broker

dramatiq.set_broker(RedisBroker(url=broker()))


@dramatiq.actor(queue_name="default")
def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    return dramatiq_command.worker(__name__)


def enqueue(one: int, many: int) -> Enqueued:
    watch = Stopwatch()
    for given in arguments(one):
        nothing.send(**given)
    singles = watch()
    for given in arguments(many):
        nothing.send(**given)
    return Enqueued(singles, None)
