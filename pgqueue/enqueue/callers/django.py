"""Django: `django.db.connection`, `connections["other"]`, and what they lead to.

Through Django's own cursor and not the driver's connection: it connects when needed, and knows of
broken transactions and of whoever watches its statements.
"""

from __future__ import annotations

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
_ADVICE: Final = "enqueue inside `with transaction.atomic():` of this database"


def send(conn: Any, document: str, required: bool) -> str:
    """In the transaction of `atomic()`; without one each statement commits."""
    _check(conn, required)
    with explained, conn.cursor() as cursor:
        cursor.execute(_SQL, [document])
        return only(cursor.fetchone())


def _check(conn: Any, required: bool) -> None:
    vendor = getattr(conn, "vendor", "something that is no database")
    if vendor != "postgresql":
        raise TypeError(f"cannot enqueue through Django's connection to {vendor}: not PostgreSQL")
    if conn.closed_in_transaction:
        raise TransactionUnusable(CLOSED)
    if conn.needs_rollback:
        raise TransactionUnusable(ABORTED)
    if required and not conn.in_atomic_block and conn.get_autocommit():
        raise not_in_transaction(conn, _ADVICE)
