"""Callers behind a pooler in transaction mode, as PgBouncer is, with the settings they need."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.enqueue import callers
from tests.enqueue.hosts import HOSTS, native
from tests.enqueue.hosts.alchemy import AsyncAlchemy
from tests.enqueue.hosts.host import parameters
from tests.enqueue.sql import count
from tests.pooler import Pooler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.enqueue.hosts import Host
    from tests.enqueue.hosts.host import Opened

JOB = '{"task": "t"}'


def work(n: int) -> None:
    """A task's function."""


@asynccontextmanager
async def asyncpg_session(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    """As SQLAlchemy's page on its asyncpg dialect says for PgBouncer."""
    assert not autocommit
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args={
            **parameters(dsn),
            "statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__asyncpg_{uuid.uuid4()}__",
        },
    )
    async with AsyncSession(engine) as session:
        yield AsyncAlchemy(session)
    await engine.dispose()


POOLED: dict[str, Opened] = {
    "psycopg": partial(native.connection, prepare_threshold=None),
    "psycopg async": HOSTS["psycopg AsyncConnection"],  # five statements are not prepared yet
    "asyncpg": partial(native.asyncpg_connection, statement_cache_size=0),
    "psycopg2": HOSTS["psycopg2 connection"],
    "pg8000": HOSTS["pg8000 Connection"],
    "SQLAlchemy, psycopg2": HOSTS["SQLAlchemy Session, psycopg2"],
    "SQLAlchemy, asyncpg": asyncpg_session,
    "Django": HOSTS["Django connection"],
}


@pytest.fixture
def pooler(own_dsn: str) -> Iterator[Pooler]:
    with Pooler(own_dsn) as running:
        yield running


@pytest.mark.parametrize("kind", POOLED)
def test_two_callers_have_a_transaction_each(pooler: Pooler, own_dsn: str, kind: str) -> None:
    """They alternate on two server connections, and what one rolls back the other keeps."""

    async def main() -> None:
        async with POOLED[kind](pooler.dsn) as host:
            for _ in range(6):
                await host.enqueue(JOB, require_transaction=True)
                await host.enqueue(JOB)
                await host.rollback()
                await host.enqueue(JOB, require_transaction=True)
                with psycopg.connect(pooler.dsn, prepare_threshold=None) as other:
                    callers.send(other, JOB)
                    other.rollback()
                await host.enqueue(JOB)
                await host.commit()

    asyncio.run(main())
    assert pooler.transactions >= 18
    with psycopg.connect(own_dsn) as connection:
        assert count(connection) == 12


def test_a_prepared_statement_is_the_driver_s_own_error(pooler: Pooler) -> None:
    def enqueue_twice(caller: psycopg.Connection[Any]) -> None:
        for _ in range(2):
            callers.send(caller, JOB)
            caller.commit()

    with psycopg.connect(pooler.dsn, prepare_threshold=0) as caller:
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            enqueue_twice(caller)
        caller.rollback()


@pytest.mark.parametrize("size", [2, 3])  # the pool looks at a connection before it lends it
def test_an_app_s_own_connections_can_do_without_prepared_statements(
    own_dsn: str, size: int
) -> None:
    with (
        Pooler(own_dsn, size) as pooler,
        PgQueue(pooler.dsn, settings=Settings(prepare=False)) as app,
    ):
        task = app.task(name="work")(work)
        for _ in range(12):  # psycopg prepares the sixth
            task.enqueue(1)
    with psycopg.connect(own_dsn) as connection:
        assert count(connection) == 12
