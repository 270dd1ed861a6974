"""The SQL function called as any client may, and what it left in the table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta

    import psycopg

COLUMNS = (
    "task, args, queue, priority, state, expires_at, max_attempts, timeout, key, key_scope, meta, "
    "version, lease, attempt, crash_count, worker_id, started_at, finished_at, result"
)
EMPTY = {
    "args": {},
    "queue": "default",
    "priority": 0,
    "state": "ready",
    "expires_at": None,
    "max_attempts": 8,
    "timeout": None,
    "key": None,
    "key_scope": None,
    "meta": {},
    "version": 1,
    "lease": 0,
    "attempt": 0,
    "crash_count": 0,
    "worker_id": None,
    "started_at": None,
    "finished_at": None,
    "result": None,
}


def enqueue(connection: psycopg.Connection, document: Any) -> Any:
    text = document if isinstance(document, str) else json.dumps(document)
    row = connection.execute("select pgqueue.enqueue(%s)", [text]).fetchone()
    assert row is not None
    return json.loads(row[0])


def row_of(connection: psycopg.Connection, job_id: int) -> dict[str, Any]:
    cursor = connection.execute(f"select {COLUMNS} from pgqueue.jobs where id = %s", [job_id])
    assert cursor.description is not None
    (row,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def due_in(connection: psycopg.Connection, job_id: int) -> timedelta:
    """From the job's creation to its run_at."""
    sql = "select run_at - created_at from pgqueue.jobs where id = %s"
    row = connection.execute(sql, [job_id]).fetchone()
    assert row is not None
    waits: timedelta = row[0]
    return waits


def count(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from pgqueue.jobs").fetchone()
    assert row is not None
    return int(row[0])
