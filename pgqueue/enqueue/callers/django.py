"""Django: `django.db.connection`, `connections["other"]`, and what they lead to.

Through Django's own cursor and not the driver's connection: it connects when needed, and knows of
broken transactions and of whoever watches its statements.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from pgqueue.enqueue.callers.explained import (
    CLOSED,
    explained,
    not_in_transaction,
    only,
)
from pgqueue.errors import TransactionUnusable

_SQL: Final = "select pgqueue.enqueue(%s::text)"
_ADVICE: Final = "enqueue inside of transaction.atomic(using={alias!r})"
_DOOMED: Final = (
    "the transaction is aborted by an earlier error, which doomed this atomic() block: leave it, "
    "then repeat the whole block"
)


def send(conn: Any, document: str, required: bool) -> str:
    """In the transaction of `atomic()`; without one each statement commits."""
    check(conn, required)
    # PostgreSQL would answer the COMMIT of a transaction that an error of ours aborted with a
    # silent rollback, if the block caught the error: Django must know.
    doomed = sys.modules["django.db.transaction"].mark_for_rollback_on_error(using=conn.alias)
    with explained, doomed, conn.cursor() as cursor:
        cursor.execute(_SQL, [document])
        return only(cursor.fetchone())


def check(conn: Any, required: bool) -> None:
    """Raise what can be known before any SQL."""
    vendor = getattr(conn, "vendor", "something that is no database")
    if vendor != "postgresql":
        raise TypeError(f"cannot enqueue through Django's connection to {vendor}: not PostgreSQL")
    if conn.closed_in_transaction:
        raise TransactionUnusable(CLOSED)
    if conn.needs_rollback:
        raise TransactionUnusable(_DOOMED)
    if required and not conn.in_atomic_block and conn.get_autocommit():
        raise not_in_transaction(conn, _ADVICE.format(alias=conn.alias))
