"""pgqueue, as its documentation shows it: `async def` handlers, default settings.

pgqueue notifies only when a worker sleeps. The producer puts a sleeper there, so that every single
job pays for a notification, as it does with the peers.
"""

from __future__ import annotations

from typing import Any

import psycopg

from benchmarks.app import app, async_nothing
from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, dsn
from pgqueue.migrate import upgrade

WORKER = """
    insert into pgqueue.workers (name, hostname, pid, version, queues, concurrency, threads, ttl)
    values ('yardstick', '', 0, '', '{default}', 1, 1, '1 day')"""
SLEEPER = "insert into pgqueue.sleepers select 'default', id from pgqueue.workers limit 1"


def install() -> None:
    upgrade(dsn())
    with psycopg.connect(dsn()) as connection:
        connection.execute(WORKER)


def worker() -> list[str]:
    return ["pgqueue", "worker", "-A", "benchmarks.app:app", "--processes", "1"]


def enqueue(one: int, many: int) -> Enqueued:
    return produce(async_nothing, one, many)


def produce(task: Any, one: int, many: int) -> Enqueued:
    """Enqueue jobs of one of the app's tasks."""
    with psycopg.connect(dsn(), autocommit=True) as connection:
        if one and connection.execute(SLEEPER).rowcount != 1:
            raise RuntimeError("no worker's row: nobody can sleep, and nothing would be notified")
        watch = Stopwatch()
        for given in arguments(one):
            task.using(connection).enqueue(**given)
        singles = watch()
        app.using(connection).enqueue_many(task.job(**given) for given in arguments(many))
        return Enqueued(singles, watch())
