"""A test's connection: statements in its transaction, and a savepoint around each attempt.

One small class for each kind that `enqueue` takes and a test may hold. Nothing here commits what a
test has begun; an attempt that failed in the database is undone to its savepoint, so that the
transaction goes on.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.enqueue.callers.explained import explained

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractContextManager

    from pgqueue.app import PgQueue

Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_DRIVERS: Final = (psycopg.Connection, psycopg.AsyncConnection)

SAVEPOINT: Final = (
    "savepoint pgqueue_attempt",
    ("release savepoint pgqueue_attempt",),
    ("rollback to savepoint pgqueue_attempt", "release savepoint pgqueue_attempt"),
)
TRANSACTION: Final = ("begin", ("commit",), ("rollback",))
PATIENCE: Final = 3600.0
"""Seconds that a handler may take in a transaction of the app's own: somebody may be debugging."""


class Host(Protocol):
    """A test's synchronous connection."""

    def rows(self, sql: str) -> list[Any]:
        """Run a statement; its rows, as tuples."""

    def begin(self, *, transactional: bool) -> Any:
        """Begin an attempt, which a transactional handler needs a transaction for; a token."""

    def end(self, token: Any, *, undo: bool) -> None:
        """End it: keep what it wrote, unless that is to be undone, or the database refused it."""

    async def arows(self, sql: str) -> list[Any]:
        """As `rows`, for a coroutine that `complete` runs."""

    def driver(self) -> Driver | None:
        """The psycopg connection underneath, where there is one."""

    def alchemy(self) -> Any:
        """The SQLAlchemy Connection underneath, where there is one."""

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an `async def` handler to its end."""


class _Host:
    """What synchronous hosts have in common: savepoints in SQL."""

    def rows(self, sql: str) -> list[Any]:
        raise NotImplementedError

    async def arows(self, sql: str) -> list[Any]:
        return self.rows(sql)

    def in_transaction(self) -> bool:
        """Whether what is written now can still be rolled back."""
        raise NotImplementedError

    def begin(self, *, transactional: bool) -> Any:
        words = words_for(transactional, in_transaction=self.in_transaction())
        if words:
            self.rows(words[0])
        return words

    def end(self, token: Any, *, undo: bool) -> None:
        if token and not (not undo and self._done(token[1])):
            for word in token[2]:
                self.rows(word)

    def _done(self, words: tuple[str, ...]) -> bool:
        try:
            for word in words:
                self.rows(word)
        except Exception:  # noqa: BLE001 - whatever the driver calls an aborted transaction
            return False
        return True

    def driver(self) -> Driver | None:
        return None

    def alchemy(self) -> Any:
        return None

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return run_coroutine(coroutine)


def words_for(transactional: bool, *, in_transaction: bool) -> Any:
    """How an attempt begins, how it is kept and how undone; None where nothing can be undone."""
    if in_transaction:
        return SAVEPOINT
    return TRANSACTION if transactional else None


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on an event loop of its own.

    Raises:
        TypeError: this thread runs an event loop already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    coroutine.close()
    raise TypeError(
        "an `async def` task cannot be run from here, where an event loop runs already: use the "
        "asynchronous form (await jobs.adrain(), arun_job(), task.aenqueue())"
    )


class PsycopgHost(_Host):
    """A psycopg Connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[Any]:
        with explained:
            cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)
            cursor.execute(sql.encode(), prepare=False)
            return cursor.fetchall() if cursor.description else []

    def in_transaction(self) -> bool:
        return is_open(self._connection)

    def driver(self) -> Driver | None:
        return self._connection


def is_open(connection: Driver) -> bool:
    """Whether what is written now can still be rolled back."""
    status = connection.pgconn.transaction_status
    return not connection.autocommit or status != TransactionStatus.IDLE


class Psycopg2Host(_Host):
    """A psycopg2 connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[Any]:
        plain = sys.modules["psycopg2.extensions"].cursor
        with explained, self._connection.cursor(cursor_factory=plain) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def in_transaction(self) -> bool:
        return not self._connection.autocommit or bool(self._connection.get_transaction_status())


class AlchemyHost(_Host):
    """A SQLAlchemy Connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[Any]:
        with explained:
            options = {"no_parameters": True, "stream_results": False, "yield_per": None}
            result = self.connection().exec_driver_sql(sql, execution_options=options)
            return [tuple(row) for row in result.all()] if result.returns_rows else []

    def connection(self) -> Any:
        """The Connection."""
        return self._connection

    def in_transaction(self) -> bool:
        return not getattr(self.connection().connection.dbapi_connection, "autocommit", False)

    def driver(self) -> Driver | None:
        driver = self.connection().connection.driver_connection
        return driver if isinstance(driver, _DRIVERS) else None

    def alchemy(self) -> Any:
        return self.connection()


class SessionHost(AlchemyHost):
    """A SQLAlchemy Session: its savepoints are its own, and flush what it holds."""

    def __init__(self, session: Any) -> None:
        super().__init__(None)
        self._session = session() if hasattr(session, "registry") else session  # of a scoped one

    def connection(self) -> Any:
        return self._session.connection()

    def begin(self, *, transactional: bool) -> Any:
        if not self.in_transaction():
            return super().begin(transactional=transactional)
        return self._session.begin_nested()

    def end(self, token: Any, *, undo: bool) -> None:
        if not hasattr(token, "is_active"):
            super().end(token, undo=undo)
        elif self._session.get_nested_transaction() is not token:
            pass  # the handler committed, or rolled back, the session itself
        # Asked, because a savepoint that SQLAlchemy fails to release stays in the database.
        elif undo or not self._done(("select 1",)):
            token.rollback()
        else:
            token.commit()


class DjangoHost(_Host):
    """A Django connection: savepoints are those of `atomic()`, which knows of doomed blocks."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[Any]:
        doomed = sys.modules["django.db.transaction"].mark_for_rollback_on_error
        alias = self._connection.alias
        with explained, doomed(using=alias), self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    async def arows(self, sql: str) -> list[Any]:
        # On the thread of the test, as its handlers' ORM calls.
        found: list[Any] = await sys.modules["asgiref.sync"].sync_to_async(self.rows)(sql)
        return found

    def in_transaction(self) -> bool:
        return bool(self._connection.in_atomic_block)

    def begin(self, *, transactional: bool) -> Any:
        if not (transactional or self.in_transaction()):
            return None
        atomic = sys.modules["django.db.transaction"].atomic(using=self._connection.alias)
        blocks = self._connection.atomic_blocks
        # A durable block, as of a transactional task, may stand in those of a TestCase alone.
        atomic._from_testcase = bool(blocks) and blocks[-1]._from_testcase  # noqa: SLF001 - see above
        atomic.__enter__()
        return atomic

    def end(self, token: Any, *, undo: bool) -> None:
        if token is None:
            return
        if undo:
            self._connection.needs_rollback = True
        error = sys.modules["django.db"].DatabaseError
        with suppress(error):  # it could not be released, and is rolled back instead
            token.__exit__(None, None, None)

    def driver(self) -> Driver | None:
        self._connection.ensure_connection()
        driver = self._connection.connection
        return driver if isinstance(driver, _DRIVERS) else None

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        # So that its ORM calls come back to this thread, and to the test's connection.
        async def completed() -> Any:
            return await coroutine

        return sys.modules["asgiref.sync"].async_to_sync(completed)()


class OwnHost(_Host):
    """The app's own connections: each statement commits, as those of a worker do."""

    def __init__(self, app: PgQueue) -> None:
        self._app = app
        self._handler: PsycopgHost | None = None

    def rows(self, sql: str) -> list[Any]:
        if self._handler is not None:
            return self._handler.rows(sql)
        with self._app.producer(None).own.transaction() as connection:
            return PsycopgHost(connection).rows(sql)

    def begin(self, *, transactional: bool) -> Any:
        if not transactional:
            return None
        transaction = self._app.producer(None).own.transaction(idle=PATIENCE)
        self._handler = PsycopgHost(transaction.__enter__())
        return transaction

    def end(self, token: Any, *, undo: bool) -> None:
        if token is None:
            return
        self._handler = None
        leaving: AbstractContextManager[Any] = token
        rollback = psycopg.Rollback() if undo else None
        leaving.__exit__(type(rollback) if rollback else None, rollback, None)

    def driver(self) -> Driver | None:
        return self._handler.driver() if self._handler else None
