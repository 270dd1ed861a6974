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
    if status == _ACTIVE and conn.pgconn.pipeline_status:
        # The end of a nested pipeline syncs: what went wrong before is raised as what it is, and
        # whether there is a transaction is known.
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
    if status == _ACTIVE and conn.pgconn.pipeline_status:
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


def _refuse(
    conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], status: int, required: bool
) -> None:
    if status == _UNKNOWN:
        raise TransactionUnusable(CLOSED)
    if status == _INERROR:
        raise TransactionUnusable(ABORTED)
    if required and status == _IDLE and conn.autocommit:
        raise not_in_transaction(conn, _ADVICE)
