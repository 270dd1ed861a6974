"""Transactional tasks: the handler's writes and the job's fenced finish are one commit.

The handler runs first and holds no lock on its job; then, in the same transaction, the job is
finished under its lease. If the lease was lost, no row comes back and all of it rolls back. If
the COMMIT got no answer, the outcome is in doubt, and the exchange reads it from the table: the
transaction held the job's row, so whoever can lock that row sees how it ended.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue import connections, outcome, store
from pgqueue.errors import LeaseLost
from pgqueue.outcome import Doubtful, Lost, Outcome, Settled, Succeeded
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.worker.parts import Attempt

AsyncConnection = psycopg.AsyncConnection[TupleRow]

NO_CONNECTION_PAUSE: Final = 1.0
"""Seconds until a job is due again whose transaction found no connection."""


class _NotSuccessful(Exception):
    """The handler returned what cannot be stored."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


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

    def _opened(self) -> ConnectionPool[Connection]:
        with self._opening:
            if self._pool is None:
                self._pool = connections.open_pool(
                    self._dsn, self._settings, "handler", size=self._size
                )
        return self._pool

    def run(self, attempt: Attempt, args: dict[str, Any]) -> Outcome:
        """Run a handler in a transaction and finish its job there."""
        context = attempt.context()
        committing = False
        try:
            with self._opened().connection() as connection, connection.transaction():
                context.sync_connection = connection
                self._finish(connection, attempt, attempt.call(args))
                committing = True
        except _NotSuccessful as refused:
            return refused.outcome
        except LeaseLost:
            return Lost(attempt.job.id, attempt.job.lease)
        except store.GONE as error:
            if context.sync_connection is None:
                return _no_connection(attempt, error)
            if not committing:
                raise
            return Doubtful(*attempt.key, execution.failed(attempt, error))
        finally:
            context.sync_connection = None
        return Settled(attempt.job.id, attempt.job.lease)

    def _finish(self, connection: Connection, attempt: Attempt, value: Any) -> None:
        with connection.pipeline():
            store.execute(connection, "limits", store.limits(self._settings))
            if said := execution.last_words(attempt):
                store.execute(connection, "progress", said)
            cursor = store.execute(
                connection,
                execution.finish_statement(attempt),
                _finish_values(attempt, value, self._settings),
            )
        if cursor.fetchone() is None:
            raise LeaseLost(f"job {attempt.job.id}: lease {attempt.job.lease} was lost")

    def close(self) -> None:
        """Close the pool; handlers that still run keep their connections to their end."""
        if self._pool is not None:
            self._pool.close(timeout=0.5)


class AsyncTransactions:
    """Runs transactional `async def` handlers, on the executor's event loop; else as above."""

    def __init__(self, dsn: str, settings: Settings, size: int) -> None:
        self._dsn, self._settings, self._size = dsn, settings, size
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._opening = asyncio.Lock()

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
        """Run a handler in a transaction and finish its job there."""
        context = attempt.context()
        committing = False
        try:
            pool = await self._opened()
            async with pool.connection() as connection, connection.transaction():
                context.async_connection = connection
                await self._finish(connection, attempt, await attempt.call(args))
                committing = True
        except _NotSuccessful as refused:
            return refused.outcome
        except LeaseLost:
            return Lost(attempt.job.id, attempt.job.lease)
        except (*store.GONE, asyncio.CancelledError) as error:
            if context.async_connection is None and isinstance(error, store.GONE):
                return _no_connection(attempt, error)
            if not committing:
                raise
            otherwise = execution.cut(attempt) if attempt.why else execution.failed(attempt, error)
            return Doubtful(*attempt.key, otherwise)
        finally:
            context.async_connection = None
        return Settled(attempt.job.id, attempt.job.lease)

    async def _finish(self, connection: AsyncConnection, attempt: Attempt, value: Any) -> None:
        values = _finish_values(attempt, value, self._settings)
        async with connection.pipeline():
            cursor = psycopg.AsyncCursor(connection)
            await cursor.execute(store.statement("limits"), store.limits(self._settings))
            if said := execution.last_words(attempt):
                await cursor.execute(store.statement("progress"), said)
            cursor = psycopg.AsyncCursor(connection)
            await cursor.execute(store.statement(execution.finish_statement(attempt)), values)
        if await cursor.fetchone() is None:
            raise LeaseLost(f"job {attempt.job.id}: lease {attempt.job.lease} was lost")

    async def aclose(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            await self._pool.close(timeout=0.5)


def _no_connection(attempt: Attempt, error: Exception) -> Outcome:
    """The handler never started: the database is away, and that is no fault of the job."""
    return outcome.interrupted(
        attempt.job, f"no connection for its transaction: {error}", delay=NO_CONNECTION_PAUSE
    )


def _finish_values(attempt: Attempt, value: Any, settings: Settings) -> dict[str, Any]:
    done = execution.succeeded(attempt, value, settings)
    if not isinstance(done, Succeeded):
        raise _NotSuccessful(done)
    return {"id": done.id, "lease": done.lease, "result": done.result}
