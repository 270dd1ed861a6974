"""Celery on Redis.

Tuned, as its guide on optimizing says for many short tasks: a prefetch of 128; results ignored;
one process (`solo`), since a hand-over to a child costs more than the task; none of the chatter
between workers. Tuned acknowledges late, after the task ran, which is what all others here do:
by default Celery acknowledges before a task runs, and a crash loses it; that was no faster here.
Neither was another prefetch, nor a pool of threads. Its own interface has no bulk form.
https://docs.celeryq.dev/en/stable/userguide/optimizing.html
https://docs.celeryq.dev/en/stable/userguide/workers.html
"""

from __future__ import annotations

from celery import Celery

from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, broker, tuned

app = Celery("benchmark", broker=broker())
if tuned():
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=128,
        worker_disable_rate_limits=True,
    )


@app.task(name="nothing")
def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    command = ["celery", "-A", __name__, "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*command, "--pool", "solo", *quiet] if tuned() else command


def enqueue(one: int, many: int) -> Enqueued:
    watch = Stopwatch()
    for given in arguments(one):
        nothing.delay(**given)
    singles = watch()
    for given in arguments(many):
        nothing.delay(**given)
    return Enqueued(singles, None)
