"""psycopg 3: a Connection or AsyncConnection, and by their connection the cursors."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.enqueue.callers.explained import (
    ABORTED,
    CLOSED,
    explained,
    not_in_transaction,
    only,
)
from pgqueue.errors import TransactionUnusable

_SQL: Final = "select pgqueue.enqueue(%s::text)"
_ADVICE: Final = "enqueue inside `with connection.transaction():`, or connect without autocommit"


def send(conn: psycopg.Connection[Any], document: str, required: bool) -> str:
    """Through a plain cursor: the host's may build rows, or read placeholders, in any way."""
    if required and conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
        with conn.pipeline():  # one is open: the end of a nested one syncs, then it is known
            pass
    check(conn, required)
    with explained:
        cursor = psycopg.Cursor(conn, row_factory=tuple_row)
        return only(cursor.execute(_SQL, (document,)).fetchone())


async def asend(conn: psycopg.AsyncConnection[Any], document: str, required: bool) -> str:
    """As `send`."""
    if required and conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
        async with conn.pipeline():
            pass
    check(conn, required)
    with explained:
        cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
        return only(await (await cursor.execute(_SQL, (document,))).fetchone())


def check(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], required: bool) -> None:
    """Raise TransactionUnusable where psycopg itself can tell that enqueue would fail."""
    status = conn.pgconn.transaction_status
    if status == TransactionStatus.UNKNOWN:
        raise TransactionUnusable(CLOSED)
    if status == TransactionStatus.INERROR:
        raise TransactionUnusable(ABORTED)
    if required and status == TransactionStatus.IDLE and conn.autocommit:
        raise not_in_transaction(conn, _ADVICE)
