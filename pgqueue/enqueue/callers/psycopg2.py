"""psycopg2: a connection, and by it its cursors."""

from __future__ import annotations

import sys
from typing import Any, Final

from pgqueue.enqueue.callers.explained import (
    ABORTED,
    CLOSED,
    explained,
    not_in_transaction,
    only,
)
from pgqueue.errors import TransactionUnusable

_SQL: Final = "select pgqueue.enqueue(%s::text)"
_ADVICE: Final = "set connection.autocommit = False, or begin with execute('begin')"
_IDLE: Final = 0
_INERROR: Final = 3


def send(conn: Any, document: str, required: bool) -> str:
    """Through a plain cursor: the host's cursor_factory may build rows in any way."""
    _check(conn, required)
    plain = sys.modules["psycopg2.extensions"].cursor
    with explained, conn.cursor(cursor_factory=plain) as cursor:
        cursor.execute(_SQL, (document,))
        return only(cursor.fetchone())


def _check(conn: Any, required: bool) -> None:
    if conn.closed:
        raise TransactionUnusable(CLOSED)
    if conn.async_:
        raise TypeError("cannot enqueue through a psycopg2 connection made with async_=True")
    status = conn.get_transaction_status()
    if status == _INERROR:
        raise TransactionUnusable(ABORTED)
    if required and status == _IDLE and conn.autocommit:
        raise not_in_transaction(conn, _ADVICE)
