"""What applications use as their session dependency, each with the routes that use it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Annotated, Any, Literal

import psycopg
from fastapi import Depends, FastAPI
from psycopg.rows import dict_row
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlmodel import Session as ModelSession
from sqlmodel.ext.asyncio.session import AsyncSession as AsyncModelSession

from pgqueue import PgQueue
from pgqueue.contrib.fastapi import Jobs, enqueuer

Scope = Literal["function", "request"] | None
ORDER = "insert into orders (parent) values ({parent})"
"""An order whose parent does not exist is refused when it is committed, and not before."""

TABLE = """
create table orders (
    id int generated always as identity primary key,
    parent int references orders (id) deferrable initially deferred)
"""


async def charge(order: int) -> None:
    """Take the money."""


def sync_session(dsn: str, kind: type[Any]) -> Callable[[], Iterator[Any]]:
    """Opens a session or connection of SQLAlchemy or SQLModel, and commits it at the end."""
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    def get_session() -> Iterator[Any]:
        with engine.connect() if kind is Connection else kind(engine) as session:
            yield session
            session.commit()

    return get_session


def async_session(dsn: str, kind: type[Any], driver: str) -> Callable[[], AsyncIterator[Any]]:
    """The asynchronous ones."""
    url = dsn.replace("postgresql:", f"postgresql+{driver}:")
    engine = create_async_engine(url, poolclass=NullPool)

    async def get_session() -> AsyncIterator[Any]:
        async with engine.connect() if kind is AsyncConnection else kind(engine) as session:
            yield session
            await session.commit()

    return get_session


def psycopg_connection(dsn: str) -> Callable[[], Iterator[Any]]:
    def get_session() -> Iterator[Any]:
        with closing(psycopg.connect(dsn, row_factory=dict_row)) as connection:
            yield connection
            connection.commit()

    return get_session


def async_psycopg_connection(dsn: str) -> Callable[[], AsyncIterator[Any]]:
    async def get_session() -> AsyncIterator[Any]:
        connection = await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row)
        try:
            yield connection
            await connection.commit()
        finally:
            await connection.close()

    return get_session


SESSIONS: dict[str, Callable[[str], Callable[[], Any]]] = {
    "Session": lambda dsn: sync_session(dsn, Session),
    "Connection": lambda dsn: sync_session(dsn, Connection),
    "SQLModel Session": lambda dsn: sync_session(dsn, ModelSession),
    "AsyncSession": lambda dsn: async_session(dsn, AsyncSession, "psycopg"),
    "AsyncSession on asyncpg": lambda dsn: async_session(dsn, AsyncSession, "asyncpg"),
    "AsyncConnection": lambda dsn: async_session(dsn, AsyncConnection, "psycopg"),
    "SQLModel AsyncSession": lambda dsn: async_session(dsn, AsyncModelSession, "psycopg"),
    "psycopg Connection": psycopg_connection,
    "psycopg AsyncConnection": async_psycopg_connection,
}


def execute(session: Any, sql: str) -> Any:
    """Run SQL as this kind of session does; the coroutine of an asynchronous one."""
    if isinstance(session, psycopg.Connection | psycopg.AsyncConnection):
        return session.execute(sql.encode())
    run = getattr(session, "exec", session.execute)  # SQLModel's execute is deprecated
    return run(text(sql))


def shop(dsn: str, kind: str, scope: Scope) -> FastAPI:
    """An application with a session dependency of a kind that commits at its end."""
    get_session = SESSIONS[kind](dsn)
    app = PgQueue(dsn)
    task = app.task(name="charge")(charge)
    session_dep = Depends(get_session, scope=scope)
    api = FastAPI()

    if "Async" in kind:

        @api.post("/orders")
        async def order_async(
            jobs: Annotated[Jobs, enqueuer(app, session_dep)],
            session: Annotated[Any, session_dep],
            parent: str = "null",
            then: str = "",
        ) -> bool:
            await execute(session, ORDER.format(parent=parent))
            await jobs.using(priority=7).aenqueue(task, 1)
            if then == "fail":
                raise ValueError("after the enqueue")
            if "commit" in then:
                await session.commit()
            if "read" in then:
                await execute(session, "select count(*) from orders")
            return jobs.connection is session

    else:

        @api.post("/orders")
        def order(
            jobs: Annotated[Jobs, enqueuer(app, session_dep)],
            session: Annotated[Any, session_dep],
            parent: str = "null",
            then: str = "",
        ) -> bool:
            execute(session, ORDER.format(parent=parent))
            jobs.using(priority=7).enqueue(task, 1)
            if then == "fail":
                raise ValueError("after the enqueue")
            if "commit" in then:
                session.commit()
            if "read" in then:
                execute(session, "select count(*) from orders")
            return jobs.connection is session

    return api
