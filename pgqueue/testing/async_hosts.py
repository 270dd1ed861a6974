"""A test's asynchronous connection; see hosts.py."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import psycopg
from psycopg.rows import tuple_row

from pgqueue import connections
from pgqueue.enqueue.callers import asyncpg, kinds, psycopg3, sqlalchemy
from pgqueue.enqueue.callers.explained import explained
from pgqueue.testing.choosing import host_of
from pgqueue.testing.hosts import AlchemyHost, Driver, Host, SessionHost, is_open, words_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgqueue.app import PgQueue

T = TypeVar("T")


class AsyncHost(Protocol):
    """As `Host`, on an event loop."""

    async def rows(self, sql: str) -> list[Any]: ...
    async def begin(self, *, transactional: bool) -> Any: ...
    async def end(self, token: Any, *, undo: bool) -> None: ...
    async def driver(self) -> Driver | None: ...
    async def alchemy(self) -> Any: ...
    async def inside(self, call: Callable[[], T]) -> T:
        """Call what uses the synchronous twin of the connection."""


class _AsyncHost:
    """What hosts of asynchronous drivers have in common: savepoints in SQL."""

    async def rows(self, sql: str) -> list[Any]:
        raise NotImplementedError

    def in_transaction(self) -> bool:
        """Whether what is written now can still be rolled back."""
        raise NotImplementedError

    async def begin(self, *, transactional: bool) -> Any:
        words = words_for(transactional, in_transaction=self.in_transaction())
        if words:
            await self.rows(words[0])
        return words

    async def end(self, token: Any, *, undo: bool) -> None:
        if token and not (not undo and await self._done(token[1])):
            for word in token[2]:
                await self.rows(word)

    async def _done(self, words: tuple[str, ...]) -> bool:
        try:
            for word in words:
                await self.rows(word)
        except Exception:  # noqa: BLE001 - whatever the driver calls an aborted transaction
            return False
        return True

    async def driver(self) -> Driver | None:
        return None

    async def alchemy(self) -> Any:
        return None

    async def inside(self, call: Callable[[], T]) -> T:
        return call()


class AsyncPsycopgHost(_AsyncHost):
    """A psycopg AsyncConnection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, sql: str) -> list[Any]:
        with explained:
            cursor = psycopg.AsyncCursor(self._connection, row_factory=tuple_row)
            await cursor.execute(sql.encode(), prepare=False)
            return await cursor.fetchall() if cursor.description else []

    def in_transaction(self) -> bool:
        return is_open(self._connection)

    async def driver(self) -> Driver | None:
        return self._connection


class AsyncpgHost(_AsyncHost):
    """An asyncpg connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, sql: str) -> list[Any]:
        with explained:
            return [tuple(row) for row in await self._connection.fetch(sql)]

    def in_transaction(self) -> bool:
        return bool(self._connection.is_in_transaction())


class AsyncAlchemyHost:
    """SQLAlchemy's AsyncConnection or AsyncSession: its synchronous twin, where it waits for it."""

    def __init__(self, outside: Any, inside: Host) -> None:
        self._outside, self._inside = outside, inside

    async def rows(self, sql: str) -> list[Any]:
        return await self.inside(lambda: self._inside.rows(sql))

    async def begin(self, *, transactional: bool) -> Any:
        return await self.inside(lambda: self._inside.begin(transactional=transactional))

    async def end(self, token: Any, *, undo: bool) -> None:
        await self.inside(lambda: self._inside.end(token, undo=undo))

    async def driver(self) -> Driver | None:
        return await self.inside(self._inside.driver)

    async def alchemy(self) -> Any:
        return await self.inside(self._inside.alchemy)

    async def inside(self, call: Callable[[], T]) -> T:
        answer: T = await self._outside.run_sync(lambda _: call())
        return answer


class WrappedHost:
    """A synchronous host in asynchronous code: what it does blocks the event loop for a moment."""

    def __init__(self, host: Host) -> None:
        self.host = host

    async def rows(self, sql: str) -> list[Any]:
        return self.host.rows(sql)

    async def begin(self, *, transactional: bool) -> Any:
        return self.host.begin(transactional=transactional)

    async def end(self, token: Any, *, undo: bool) -> None:
        self.host.end(token, undo=undo)

    async def driver(self) -> Driver | None:
        return self.host.driver()

    async def alchemy(self) -> Any:
        return None  # of a synchronous one no coroutine can make use: see `host`

    async def inside(self, call: Callable[[], T]) -> T:
        return call()


def async_host_of(app: PgQueue, connection: Any) -> AsyncHost:
    """The host of a connection, be it asynchronous or not; without one, of the app's own.

    Raises:
        TypeError: it is of a kind that cannot be used here.
    """
    if connection is None:
        return WrappedHost(host_of(app, None))
    adapter, found = kinds.find(connection)
    send = adapter.send if adapter is not None else None
    if send is psycopg3.asend:
        return AsyncPsycopgHost(found)
    if send is asyncpg.asend:
        return AsyncpgHost(found)
    if send is sqlalchemy.asend:
        return AsyncAlchemyHost(found, AlchemyHost(found.sync_connection))
    if send is sqlalchemy.asend_session:
        session = found() if hasattr(found, "registry") else found
        return AsyncAlchemyHost(session, SessionHost(session.sync_session))
    return WrappedHost(host_of(app, connection))


@asynccontextmanager
async def own_async_host(app: PgQueue) -> AsyncIterator[AsyncHost]:
    """A connection of pgqueue's own, for a transactional `async def` task without the test's."""
    given = connections.parameters(app.dsn, app.settings, "testing")
    async with await psycopg.AsyncConnection.connect(**given, autocommit=True) as connection:
        yield AsyncPsycopgHost(connection)
