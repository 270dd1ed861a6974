"""Django's own connection as the caller whose transaction a job belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, transaction

from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable


def enqueue(alias: str, document: str) -> str:
    """Send a document of jobs through Django's connection, in the transaction that is open there.

    Outside of `atomic()` Django commits every statement, and so this one.

    Raises:
        TransactionUnusable: an error inside of the atomic block has doomed it.
        SynchronousOnlyOperation: called on an event loop; use the asynchronous form.
        As `callers.send`.
    """
    wrapper = connections[alias]
    if wrapper.needs_rollback:
        raise TransactionUnusable(
            "an earlier error doomed this atomic() block: leave it, then repeat the whole block"
        )
    wrapper.ensure_connection()
    # Tells Django of a lost connection, and of an aborted transaction: PostgreSQL would answer
    # its COMMIT with a silent rollback.
    with wrapper.wrap_database_errors, transaction.mark_for_rollback_on_error(using=alias):
        return callers.send(wrapper.connection, document)


def enqueue_all(alias: str, documents: Iterable[str]) -> list[str]:
    """Send documents in one transaction: the open one, or one for them all."""
    if connections[alias].in_atomic_block:
        return [enqueue(alias, document) for document in documents]
    with transaction.atomic(using=alias):
        return [enqueue(alias, document) for document in documents]
