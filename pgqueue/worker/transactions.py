"""Transactional tasks: the handler's writes and the job's fenced finish are one commit.

The handler runs first and holds no lock on its job; then, in the same transaction, the job is
finished under its lease. If the lease was lost, no row comes back and all of it rolls back. If
the COMMIT got no answer, the outcome is in doubt, and the exchange reads it from the table: the
transaction held the job's row, so whoever can lock that row sees how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue import connections, store
from pgqueue.errors import TransactionEnded
from pgqueue.outcome import Outcome, Settled
from pgqueue.worker import execution, finishing
from pgqueue.worker.sessions import AsyncSessions, Sessions

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.worker.parts import Attempt

AsyncConnection = psycopg.AsyncConnection[TupleRow]

ENDED = "the handler ended the job's own transaction: use connection.transaction() for a part of it"
BUSY = (
    "the handler left a query of the job's own connection under way, so its transaction is rolled "
    "back: read a stream() or copy() to its end or close it, and wait for threads and tasks that "
    "use the connection"
)

PATIENCE = 1.0
"""Seconds for a query to end that a handler left under way."""


class Transactions:
    """Runs transactional `def` handlers; safe from many threads.

    Args:
        dsn: the workers' database.
        settings: gives the time limits of the finish.
        size: connections at most: one for each handler that runs.
    """

    def __init__(self, dsn: str, settings: Settings, size: int) -> None:
        self._dsn, self._settings, self._size = dsn, settings, size
        self._pool: ConnectionPool[Connection] | None = None
        self._opening = threading.Lock()
        self._sessions = Sessions(dsn, settings, size)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._opening:
            if self._pool is None:
                self._pool = connections.open_pool(
                    self._dsn, self._settings, "handler", size=self._size
                )
        return self._pool

    def run(self, attempt: Attempt, args: dict[str, Any]) -> Outcome:
        """Run a handler in a transaction, as its task declares it, and finish its job there."""
        if attempt.task.transactional is not True:
            return self._sessions.run(attempt, args)
        context = attempt.context()
        committing = False
        try:
            with self._opened().connection() as connection, connection.transaction():
                context.sync_connection = connection
                connection.row_factory = tuple_row  # the last handler may have set its own
                try:
                    value = attempt.call(args)
                    _check(connection)
                except BaseException:
                    _let_go(connection)
                    raise
                self._finish(connection, attempt, value)
                committing = True
        except BaseException as error:  # of a child: told to end in the COMMIT
            if context.sync_connection is None and isinstance(error, store.GONE):
                return finishing.no_connection(attempt, error)
            done = finishing.ended(attempt, error, committing=committing)
            if done is None:
                raise
            return done
        finally:
            context.sync_connection = None
        return Settled(*attempt.key)

    def _finish(self, connection: Connection, attempt: Attempt, value: Any) -> None:
        values = finishing.values(attempt, value, self._settings)
        with connection.pipeline():
            store.execute(connection, "limits", store.limits(self._settings))
            if said := execution.last_words(attempt):
                store.execute(connection, "progress", said)
            cursor = store.execute(connection, execution.finish_statement(attempt), values)
        if cursor.fetchone() is None:
            raise finishing.lease_lost(attempt)

    def close(self) -> None:
        """Close the pool; handlers that still run keep their connections to their end."""
        if self._pool is not None:
            self._pool.close(timeout=0.5)
        self._sessions.close()


class AsyncTransactions:
    """Runs transactional `async def` handlers, on the executor's event loop; else as above."""

    def __init__(self, dsn: str, settings: Settings, size: int) -> None:
        self._dsn, self._settings, self._size = dsn, settings, size
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._opening = asyncio.Lock()
        self._sessions = AsyncSessions(dsn, settings, size)

    async def _opened(self) -> AsyncConnectionPool[AsyncConnection]:
        async with self._opening:
            if self._pool is None:
                pool = AsyncConnectionPool(
                    connection_class=psycopg.AsyncConnection[TupleRow],
                    kwargs=connections.parameters(self._dsn, self._settings, "handler")
                    | {"autocommit": True, "row_factory": tuple_row},
                    min_size=0,
                    max_size=self._size,
                    timeout=self._settings.connect_timeout,
                    open=False,
                    check=AsyncConnectionPool.check_connection,
                )
                await pool.open()
                self._pool = pool
        return self._pool

    async def run(self, attempt: Attempt, args: dict[str, Any]) -> Outcome:
        """Run a handler in a transaction, as its task declares it, and finish its job there."""
        if attempt.task.transactional is not True:
            return await self._sessions.run(attempt, args)
        context = attempt.context()
        committing = False
        try:
            pool = await self._opened()
            async with pool.connection() as connection, connection.transaction():
                context.async_connection = connection
                connection.row_factory = tuple_row  # the last handler may have set its own
                try:
                    value = await attempt.call(args)
                    _check(connection)
                except BaseException:
                    await _alet_go(connection)
                    raise
                await self._finish(connection, attempt, value)
                committing = True
        except (Exception, asyncio.CancelledError) as error:
            if context.async_connection is None and isinstance(error, store.GONE):
                return finishing.no_connection(attempt, error)
            done = finishing.ended(attempt, error, committing=committing)
            if done is None:
                raise
            return done
        finally:
            context.async_connection = None
        return Settled(*attempt.key)

    async def _finish(self, connection: AsyncConnection, attempt: Attempt, value: Any) -> None:
        values = finishing.values(attempt, value, self._settings)
        async with connection.pipeline():
            cursor = psycopg.AsyncCursor(connection)
            await cursor.execute(store.statement("limits"), store.limits(self._settings))
            if said := execution.last_words(attempt):
                await cursor.execute(store.statement("progress"), said)
            cursor = psycopg.AsyncCursor(connection)
            await cursor.execute(store.statement(execution.finish_statement(attempt)), values)
        if await cursor.fetchone() is None:
            raise finishing.lease_lost(attempt)

    async def aclose(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            await self._pool.close(timeout=0.5)
        await self._sessions.aclose()


def _check(connection: Connection | AsyncConnection) -> None:
    """See that the transaction is open, and that nothing else uses its connection.

    Psycopg refuses commit() and rollback(); it does not read what is executed.

    Raises:
        TransactionEnded: it is not.
    """
    status = connection.pgconn.transaction_status
    if status == TransactionStatus.IDLE:
        raise TransactionEnded(ENDED)
    if status == TransactionStatus.ACTIVE:
        raise TransactionEnded(BUSY)


def _let_go(connection: Connection) -> None:
    """End the query that a handler has left under way, if it has.

    A stream() or copy() that is not at its end holds the lock of the connection, and the rollback
    would wait for it for ever.
    """
    if connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
        return
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=PATIENCE)
    if connection.lock.acquire(timeout=PATIENCE):  # another thread's: by now that has its error
        connection.lock.release()
    else:
        connection.close()


async def _alet_go(connection: AsyncConnection) -> None:
    """As `_let_go`."""
    if connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
        return
    with contextlib.suppress(psycopg.Error):
        await connection.cancel_safe(timeout=PATIENCE)
    try:
        async with asyncio.timeout(PATIENCE), connection.lock:
            pass
    except TimeoutError:
        await connection.close()
