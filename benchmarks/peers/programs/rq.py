"""RQ.

By default it forks a process for each job. Tuned: `SimpleWorker`, which runs jobs in the worker's
own process, as RQ's notes on performance measure it, and no line of log for each job.
https://github.com/rq/rq/blob/master/docs/benchmark.md
"""

from __future__ import annotations

from redis import Redis
from rq import Queue

from benchmarks.peers.programs.shared import (
    Enqueued,
    Stopwatch,
    arguments,
    broker,
    chunks,
    tuned,
)

FAST = ["--worker-class", "rq.SimpleWorker", "--quiet"]


def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    command = ["rq", "worker", "--url", broker()]
    return [*command, *FAST] if tuned() else command


def enqueue(one: int, many: int) -> Enqueued:
    queue = Queue(connection=Redis.from_url(broker()))
    watch = Stopwatch()
    for given in arguments(one):
        queue.enqueue(nothing, kwargs=given)
    singles = watch()
    for chunk in chunks(list(arguments(many))):
        queue.enqueue_many([Queue.prepare_data(nothing, kwargs=given) for given in chunk])
    return Enqueued(singles, watch())
