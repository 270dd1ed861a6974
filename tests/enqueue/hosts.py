"""The kinds of connection that a caller may have, driven alike: one small host for each."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pgqueue.enqueue import callers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Connection, Engine


class Host(Protocol):
    """A caller with a transaction."""

    caller: Any

    async def enqueue(self, document: str) -> str: ...
    async def execute(self, sql: str) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...
    def savepoint(self) -> AbstractAsyncContextManager[Any]: ...


class SyncPsycopg:
    def __init__(self, caller: psycopg.Connection[Any]) -> None:
        self.caller = caller

    async def enqueue(self, document: str) -> str:
        return callers.send(self.caller, document)

    async def execute(self, sql: str) -> None:
        psycopg.Cursor(self.caller).execute(sql.encode())

    async def commit(self) -> None:
        self.caller.commit()

    async def rollback(self) -> None:
        self.caller.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Any]:
        with self.caller.transaction() as savepoint:
            yield savepoint


class AsyncPsycopg:
    def __init__(self, caller: psycopg.AsyncConnection[Any]) -> None:
        self.caller = caller
        self.commit, self.rollback = caller.commit, caller.rollback

    async def enqueue(self, document: str) -> str:
        return await callers.asend(self.caller, document)

    async def execute(self, sql: str) -> None:
        await self.caller.execute(sql.encode())

    def savepoint(self) -> AbstractAsyncContextManager[Any]:
        return self.caller.transaction()


class SyncAlchemy:
    def __init__(self, caller: Connection | Session | scoped_session[Session]) -> None:
        self.caller = caller

    async def enqueue(self, document: str) -> str:
        return callers.send(self.caller, document)

    async def execute(self, sql: str) -> None:
        self.caller.execute(text(sql))

    async def commit(self) -> None:
        self.caller.commit()

    async def rollback(self) -> None:
        self.caller.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Any]:
        with self.caller.begin_nested() as savepoint:
            yield savepoint


class AsyncAlchemy:
    def __init__(self, caller: AsyncConnection | AsyncSession) -> None:
        self.caller = caller
        self.commit, self.rollback = caller.commit, caller.rollback

    async def enqueue(self, document: str) -> str:
        return await callers.asend(self.caller, document)

    async def execute(self, sql: str) -> None:
        await self.caller.execute(text(sql))

    def savepoint(self) -> AbstractAsyncContextManager[Any]:
        return self.caller.begin_nested()


@asynccontextmanager
async def psycopg_connection(dsn: str) -> AsyncIterator[Host]:
    with psycopg.connect(dsn) as connection:
        yield SyncPsycopg(connection)


@asynccontextmanager
async def psycopg_async_connection(dsn: str) -> AsyncIterator[Host]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        yield AsyncPsycopg(connection)


@contextmanager
def sync_engine(dsn: str) -> Iterator[Engine]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    try:
        yield engine
    finally:
        engine.dispose()


@asynccontextmanager
async def async_engine(driver: str, dsn: str) -> AsyncIterator[AsyncEngine]:
    options: dict[str, Any] = {**conninfo_to_dict(dsn)}
    options["database"] = options.pop("dbname")

    async def connect() -> Any:
        if driver == "asyncpg":
            return await asyncpg.connect(**options)
        return await psycopg.AsyncConnection.connect(dsn)

    engine = create_async_engine(f"postgresql+{driver}://", async_creator=connect)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def alchemy_connection(dsn: str) -> AsyncIterator[Host]:
    with sync_engine(dsn) as engine, engine.connect() as connection:
        yield SyncAlchemy(connection)


@asynccontextmanager
async def alchemy_session(dsn: str) -> AsyncIterator[Host]:
    with sync_engine(dsn) as engine, Session(engine) as session:
        yield SyncAlchemy(session)


@asynccontextmanager
async def alchemy_scoped_session(dsn: str) -> AsyncIterator[Host]:
    with sync_engine(dsn) as engine:
        sessions = scoped_session(sessionmaker(engine))
        try:
            yield SyncAlchemy(sessions)
        finally:
            sessions.remove()


@asynccontextmanager
async def alchemy_async_connection(driver: str, dsn: str) -> AsyncIterator[Host]:
    async with async_engine(driver, dsn) as engine, engine.connect() as connection:
        yield AsyncAlchemy(connection)


@asynccontextmanager
async def alchemy_async_session(driver: str, dsn: str) -> AsyncIterator[Host]:
    async with async_engine(driver, dsn) as engine, AsyncSession(engine) as session:
        yield AsyncAlchemy(session)


HOSTS: dict[str, Callable[[str], AbstractAsyncContextManager[Host]]] = {
    "psycopg Connection": psycopg_connection,
    "psycopg AsyncConnection": psycopg_async_connection,
    "SQLAlchemy Connection": alchemy_connection,
    "SQLAlchemy Session": alchemy_session,
    "SQLAlchemy scoped_session": alchemy_scoped_session,
    "SQLAlchemy AsyncConnection, psycopg": partial(alchemy_async_connection, "psycopg"),
    "SQLAlchemy AsyncConnection, asyncpg": partial(alchemy_async_connection, "asyncpg"),
    "SQLAlchemy AsyncSession, psycopg": partial(alchemy_async_session, "psycopg"),
    "SQLAlchemy AsyncSession, asyncpg": partial(alchemy_async_session, "asyncpg"),
}
