"""Whose transaction: a package of small adapters, one file for each driver that a caller may have.

An adapter sends the document through the caller's own connection and its open transaction, and
does nothing else there: no savepoint, commit or SET. One text goes out and one text comes back, so
that row factories, codecs and prepared statements of the host do not matter. No adapter imports
its driver, psycopg apart: if the caller has an object of it, it is loaded.

`kinds` finds the adapter of an object, `explained` words what went wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pgqueue.enqueue.callers import kinds

__all__ = ["asend", "send"]


def send(conn: Any, document: str, *, require_transaction: bool = False) -> str:
    """Enqueue the document's jobs in the transaction of a synchronous caller.

    Args:
        conn: what `kinds.ACCEPTED` lists, synchronous.
        document: from `contract.encode` or `contract.encode_many`.
        require_transaction: refuse a caller whose next statement commits on its own.

    Returns:
        The answer, for `contract.decode` or `contract.decode_many`.

    Raises:
        TypeError: `conn` is asynchronous, or no connection to PostgreSQL at all.
        TransactionUnusable: the transaction is aborted or read-only, the connection closed, or
            there is no transaction although it is required.
        InvalidJob: the database refused the document; the transaction is aborted now.
        SchemaError: pgqueue's schema is missing or behind.
        EnqueueError: the role may not enqueue.
        Exception: everything else is the driver's own error, unchanged.
    """
    adapter, connection = kinds.find(conn)
    if adapter is None or adapter.is_async:
        raise TypeError(kinds.unsuitable("enqueue", conn, adapter))
    try:
        answer = adapter.send(connection, document, require_transaction)
    except UnicodeEncodeError:
        answer = adapter.send(connection, _ascii(document), require_transaction)
    return str(answer)


async def asend(conn: Any, document: str, *, require_transaction: bool = False) -> str:
    """As `send`, for what `kinds.ACCEPTED` lists and is asynchronous."""
    adapter, connection = kinds.find(conn)
    if adapter is None or not adapter.is_async:
        raise TypeError(kinds.unsuitable("aenqueue", conn, adapter))
    try:
        answer = await adapter.send(connection, document, require_transaction)
    except UnicodeEncodeError:
        answer = await adapter.send(connection, _ascii(document), require_transaction)
    return str(answer)


_beyond_ascii: Final = re.compile(r"[^\x00-\x7f]")


def _ascii(document: str) -> str:
    """The same JSON for a host whose client_encoding has not all of Unicode."""

    def escaped(character: re.Match[str]) -> str:
        utf16 = character[0].encode("utf-16-be").hex()
        return "".join(f"\\u{utf16[at : at + 4]}" for at in range(0, len(utf16), 4))

    return _beyond_ascii.sub(escaped, document)
