"""Django's own connection as the caller whose transaction a job belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, transaction

from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable


def enqueue(alias: str, document: str, *, required: bool = False) -> str:
    """Send a document of jobs through Django's connection, in the transaction that is open there.

    Outside of `atomic()` Django commits every statement, and so this one.

    Args:
        alias: the database, as DATABASES names it.
        document: from `contract.encode` or `contract.encode_many`.
        required: refuse a connection without an open transaction.

    Raises:
        TransactionUnusable: an error inside of the atomic block has doomed it, or there is no
            transaction although one is required.
        SynchronousOnlyOperation: called on an event loop; use the asynchronous form.
        As `callers.send`.
    """
    wrapper = connections[alias]
    if wrapper.needs_rollback:
        raise TransactionUnusable(
            "an earlier error doomed this atomic() block: leave it, then repeat the whole block"
        )
    wrapper.ensure_connection()
    if required and not wrapper.in_atomic_block and wrapper.get_autocommit():
        raise TransactionUnusable(
            f"a transaction is required, and Django has none open on {alias!r}: enqueue inside of "
            f"transaction.atomic(using={alias!r})"
        )
    # Tells Django of a lost connection, and of an aborted transaction: PostgreSQL would answer
    # its COMMIT with a silent rollback.
    with wrapper.wrap_database_errors, transaction.mark_for_rollback_on_error(using=alias):
        return callers.send(wrapper.connection, document)


def enqueue_all(alias: str, documents: Iterable[str], *, required: bool = False) -> list[str]:
    """Send documents in one transaction: the open one, or one for them all.

    A single document needs none around it, whose begin and commit would be two more round trips.
    """
    single = isinstance(documents, list) and len(documents) == 1
    if single or required or connections[alias].in_atomic_block:
        return [enqueue(alias, document, required=required) for document in documents]
    with transaction.atomic(using=alias):
        return [enqueue(alias, document) for document in documents]
