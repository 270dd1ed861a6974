"""Django's own connection as the caller whose transaction a job belongs to."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from pgqueue.enqueue import callers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator


def enqueue(alias: str, document: str, *, required: bool = False) -> str:
    """Send a document of jobs through Django's connection, in the transaction that is open there.

    Outside of `atomic()` Django commits every statement, and so this one.

    Args:
        alias: the database, as DATABASES names it.
        document: from `contract.encode` or `contract.encode_many`.
        required: refuse a connection without an open transaction.

    Raises:
        SynchronousOnlyOperation: called on an event loop; use the asynchronous form.
        As `callers.send`.
    """
    return callers.send(connections[alias], document, require_transaction=required)


def answers(alias: str, documents: Iterable[str], *, required: bool = False) -> Generator[str]:
    """Send documents in one transaction, and give each answer: the open one, or one for them all.

    A single document needs none around it, whose begin and commit would be two more round trips.
    """
    single = isinstance(documents, list) and len(documents) == 1
    with nullcontext() if single or required else _together(alias):
        for document in documents:
            yield enqueue(alias, document, required=required)


@contextmanager
def driver_connection(alias: str) -> Iterator[Any]:
    """The driver's connection, in the transaction that is open, or in one of its own."""
    with _together(alias), transaction.mark_for_rollback_on_error(using=alias):
        connections[alias].ensure_connection()
        yield connections[alias].connection


def _together(alias: str) -> Any:
    inside = connections[alias].in_atomic_block
    return nullcontext() if inside else transaction.atomic(using=alias)
