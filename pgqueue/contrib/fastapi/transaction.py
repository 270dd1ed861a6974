"""Whether jobs that a request enqueued wait for a commit that is still to come."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from fastapi.concurrency import run_in_threadpool
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

_HAS_WRITTEN: Final = "select pg_current_xact_id_if_assigned() is not null"


class Watch:
    """The transaction that a request's jobs were enqueued in.

    SQLAlchemy has an object for each transaction, so a later one is not mistaken for it. psycopg
    has none: there, a transaction that has written nothing is taken for a later one, and the server
    is asked about that only when a transaction is open.

    Args:
        connection: the request's session or connection.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._enqueued = False
        self._transaction: Any = None

    def note(self) -> None:
        """Jobs were enqueued just now, by this thread."""
        self._enqueued = True
        self._connection = _synchronous(self._connection)
        if hasattr(self._connection, "get_transaction") and not _autocommits(self._connection):
            self._transaction = self._connection.get_transaction()

    async def is_open(self) -> bool:
        """Whether jobs were enqueued, and their transaction has not ended.

        False for connections of other kinds than SQLAlchemy's and psycopg's.
        """
        if not self._enqueued:
            return False
        if self._transaction is not None:
            return bool(self._connection.get_transaction() is self._transaction)
        if isinstance(self._connection, psycopg.Connection | psycopg.AsyncConnection):
            return await _has_written(self._connection)
        return False


def _synchronous(connection: Any) -> Any:
    """Of what SQLAlchemy wraps (scoped, asynchronous), the object that has the transaction."""
    registry = getattr(connection, "registry", None)
    connection = registry() if callable(registry) else connection
    connection = getattr(connection, "sync_session", connection)
    return getattr(connection, "sync_connection", connection)


def _autocommits(connection: Any) -> bool:
    """Whether SQLAlchemy's transaction is one in name only: its isolation is AUTOCOMMIT."""
    if callable(connection.connection):
        connection = connection.connection()  # of a session that has just used it: no I/O
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


async def _has_written(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return False
    if connection.info.transaction_status == TransactionStatus.INERROR:
        return True
    if isinstance(connection, psycopg.Connection):
        return await run_in_threadpool(_ask, connection)
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    row = await (await cursor.execute(_HAS_WRITTEN)).fetchone()
    return row == (True,)


def _ask(connection: psycopg.Connection[Any]) -> bool:
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    return cursor.execute(_HAS_WRITTEN).fetchone() == (True,)
