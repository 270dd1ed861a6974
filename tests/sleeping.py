"""Workers that sleep, as rows: what makes an enqueue notify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


def fall_asleep(connection: psycopg.Connection[Any], queue: str, *worker_ids: int) -> None:
    """Let workers with these ids sleep in a queue."""
    for worker_id in worker_ids:
        connection.execute(
            "insert into pgqueue.workers "
            "(id, name, hostname, pid, version, queues, concurrency, threads, ttl) "
            "overriding system value values (%s, 'w', 'h', 1, '0', '{}', 1, 1, '1 hour') "
            "on conflict do nothing",
            [worker_id],
        )
        connection.execute("insert into pgqueue.sleepers values (%s, %s)", [queue, worker_id])
