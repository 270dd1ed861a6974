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

# Plain numbers: to compare with a member of an enum takes longer.
_IDLE: Final = int(TransactionStatus.IDLE)
_ACTIVE: Final = int(TransactionStatus.ACTIVE)
_INERROR: Final = int(TransactionStatus.INERROR)
_UNKNOWN: Final = int(TransactionStatus.UNKNOWN)


def send(conn: psycopg.Connection[Any], document: str, required: bool) -> str:
    """Through a plain cursor: the host's may build rows, or read placeholders, in any way."""
    status = conn.pgconn.transaction_status
    if _must_sync(conn, status, required):
        with conn.pipeline():
            pass
        status = conn.pgconn.transaction_status
    _refuse(conn, status, required)
    with explained:
        cursor = psycopg.Cursor(conn, row_factory=tuple_row)
        return only(cursor.execute(_SQL, (document,)).fetchone())


async def asend(conn: psycopg.AsyncConnection[Any], document: str, required: bool) -> str:
    """As `send`."""
    status = conn.pgconn.transaction_status
    if _must_sync(conn, status, required):
        async with conn.pipeline():
            pass
        status = conn.pgconn.transaction_status
    _refuse(conn, status, required)
    with explained:
        cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
        return only(await (await cursor.execute(_SQL, (document,))).fetchone())


def check(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], required: bool) -> None:
    """Raise TransactionUnusable where psycopg itself can tell that enqueue would fail."""
    _refuse(conn, conn.pgconn.transaction_status, required)


def _must_sync(
    conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], status: int, required: bool
) -> bool:
    """Whether to end a nested pipeline first, which syncs.

    What went wrong before is then raised as what it is, and whether there is a transaction is
    known. Not in autocommit mode unless it is required: there a sync commits what came before.
    """
    in_pipeline = status == _ACTIVE and bool(conn.pgconn.pipeline_status)
    return in_pipeline and (required or not conn.autocommit)


def _refuse(
    conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], status: int, required: bool
) -> None:
    if status == _UNKNOWN:
        raise TransactionUnusable(CLOSED)
    if status == _INERROR:
        raise TransactionUnusable(ABORTED)
    if required and status == _IDLE and conn.autocommit:
        raise not_in_transaction(conn, _ADVICE)
