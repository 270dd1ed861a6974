"""SQLAlchemy, and what is built on it: over each driver, plain and async."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import flask
import flask_sqlalchemy
import pg8000.dbapi
import psycopg
import psycopg2
import sqlmodel
import sqlmodel.ext.asyncio.session
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pgqueue.enqueue import callers
from tests.enqueue.hosts.dbapi import pg8000_parameters
from tests.enqueue.hosts.host import AsyncHost, Host, SyncHost, parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.enqueue.hosts.host import Opened


class Alchemy(SyncHost):
    async def execute(self, sql: str) -> None:
        self.caller.execute(text(sql))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Any]:
        with self.caller.begin_nested() as savepoint:
            yield savepoint


class AsyncAlchemy(AsyncHost):
    async def execute(self, sql: str) -> None:
        await self.connection.execute(text(sql))

    def savepoint(self) -> Any:
        return self.connection.begin_nested()


class AsyncModels(AsyncAlchemy):
    """SQLModel would have its own exec() used instead of execute(), and warns."""

    async def execute(self, sql: str) -> None:
        await (await self.caller.connection()).execute(text(sql))


class RunSync(AsyncAlchemy):
    """An async session whose plain one enqueues, inside of run_sync."""

    async def enqueue(self, document: str, *, require_transaction: bool = False) -> str:
        def send(session: Session) -> str:
            return callers.send(session, document, require_transaction=require_transaction)

        answer: str = await self.caller.run_sync(send)
        return answer


def isolation(autocommit: bool) -> dict[str, Any]:
    return {"isolation_level": "AUTOCOMMIT"} if autocommit else {}


@contextmanager
def sync_engine(driver: str, dsn: str, *, autocommit: bool) -> Iterator[Engine]:
    connect: dict[str, Callable[[], Any]] = {
        "psycopg": lambda: psycopg.connect(dsn),
        "psycopg2": lambda: psycopg2.connect(dsn),
        "pg8000": lambda: pg8000.dbapi.connect(**pg8000_parameters(dsn)),
    }
    engine = create_engine(
        f"postgresql+{driver}://", creator=connect[driver], **isolation(autocommit)
    )
    try:
        yield engine
    finally:
        engine.dispose()


@asynccontextmanager
async def async_engine(driver: str, dsn: str, *, autocommit: bool) -> AsyncIterator[AsyncEngine]:
    async def connect() -> Any:
        if driver == "asyncpg":
            return await asyncpg.connect(**parameters(dsn))
        return await psycopg.AsyncConnection.connect(dsn)

    engine = create_async_engine(
        f"postgresql+{driver}://", async_creator=connect, **isolation(autocommit)
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def connection(driver: str, dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with sync_engine(driver, dsn, autocommit=autocommit) as engine, engine.connect() as caller:
        yield Alchemy(caller)


@asynccontextmanager
async def session(
    driver: str, dsn: str, *, autocommit: bool = False, kind: type[Session] = Session
) -> AsyncIterator[Host]:
    with sync_engine(driver, dsn, autocommit=autocommit) as engine, kind(engine) as caller:
        yield Alchemy(caller)


@asynccontextmanager
async def scoped(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with sync_engine("psycopg", dsn, autocommit=autocommit) as engine:
        sessions = scoped_session(sessionmaker(engine))
        try:
            yield Alchemy(sessions)
        finally:
            sessions.remove()


@asynccontextmanager
async def pooled(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with sync_engine("psycopg2", dsn, autocommit=autocommit) as engine:
        caller = engine.raw_connection()
        try:
            yield SyncHost(caller)
        finally:
            caller.close()


@asynccontextmanager
async def flask_session(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    app = flask.Flask("host")
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "creator": lambda: psycopg.connect(dsn),
        **isolation(autocommit),
    }
    db = flask_sqlalchemy.SQLAlchemy(app)
    with app.app_context():
        try:
            yield Alchemy(db.session)
        finally:
            db.session.remove()
            db.engine.dispose()


@asynccontextmanager
async def async_connection(
    driver: str, dsn: str, *, autocommit: bool = False
) -> AsyncIterator[Host]:
    async with (
        async_engine(driver, dsn, autocommit=autocommit) as engine,
        engine.connect() as caller,
    ):
        yield AsyncAlchemy(caller)


@asynccontextmanager
async def async_session(
    driver: str,
    dsn: str,
    *,
    autocommit: bool = False,
    kind: type[AsyncSession] = AsyncSession,
    host: type[AsyncAlchemy] = AsyncAlchemy,
) -> AsyncIterator[Host]:
    async with async_engine(driver, dsn, autocommit=autocommit) as engine, kind(engine) as caller:
        yield host(caller)


@asynccontextmanager
async def async_scoped(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    async with async_engine("asyncpg", dsn, autocommit=autocommit) as engine:
        sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
        try:
            yield AsyncAlchemy(sessions)
        finally:
            await sessions.remove()


HOSTS: dict[str, Opened] = {
    "SQLAlchemy Connection, psycopg": partial(connection, "psycopg"),
    "SQLAlchemy Connection, psycopg2": partial(connection, "psycopg2"),
    "SQLAlchemy Connection, pg8000": partial(connection, "pg8000"),
    "SQLAlchemy Session, psycopg": partial(session, "psycopg"),
    "SQLAlchemy Session, psycopg2": partial(session, "psycopg2"),
    "SQLAlchemy Session, pg8000": partial(session, "pg8000"),
    "SQLAlchemy scoped_session": scoped,
    "SQLAlchemy raw_connection": pooled,
    "SQLAlchemy AsyncConnection, psycopg": partial(async_connection, "psycopg"),
    "SQLAlchemy AsyncConnection, asyncpg": partial(async_connection, "asyncpg"),
    "SQLAlchemy AsyncSession, psycopg": partial(async_session, "psycopg"),
    "SQLAlchemy AsyncSession, asyncpg": partial(async_session, "asyncpg"),
    "SQLAlchemy AsyncSession, run_sync": partial(async_session, "asyncpg", host=RunSync),
    "SQLAlchemy async_scoped_session": async_scoped,
    "SQLModel Session": partial(session, "psycopg", kind=sqlmodel.Session),
    "SQLModel AsyncSession": partial(
        async_session,
        "asyncpg",
        kind=sqlmodel.ext.asyncio.session.AsyncSession,
        host=AsyncModels,
    ),
    "Flask-SQLAlchemy db.session": flask_session,
}
