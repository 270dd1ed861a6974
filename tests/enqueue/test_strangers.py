"""What enqueue cannot take, and says so before any SQL; and proxies, which it can."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import psycopg_pool
import pytest
from django.db import connections
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from pgqueue.enqueue import callers
from pgqueue.enqueue.callers import kinds
from tests.enqueue.sql import count

if TYPE_CHECKING:
    from tests.enqueue.hosts import Host

JOB = '{"task": "t"}'


class Traced:
    """What tracing tools put around a connection: it says that it is one, and its type does not."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "wrapped", wrapped)

    def __getattribute__(self, name: str) -> Any:
        wrapped = object.__getattribute__(self, "wrapped")
        return wrapped.__class__ if name == "__class__" else getattr(wrapped, name)


def test_each_kind_of_caller_is_told_when_its_colour_is_wrong(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        adapter, _ = kinds.find(host.caller)
        name = type(host.caller).__qualname__
        assert adapter is not None
        if adapter.is_async:
            with pytest.raises(
                TypeError, match=rf"got an object of .*{name}, .* use `await \.\.\.aenqueue"
            ):
                callers.send(host.caller, JOB)
        else:
            with pytest.raises(
                TypeError, match=rf"got an object of .*{name}, .*synchronous: use `enqueue\("
            ):
                await callers.asend(host.caller, JOB)
        await host.commit()

    run(scenario)
    assert count(business) == 0


def test_what_is_no_connection_is_refused_with_what_is() -> None:
    engine = create_engine("postgresql+psycopg://")
    async_engine = create_async_engine("postgresql+asyncpg://")
    pool = psycopg_pool.ConnectionPool("", open=False)
    strangers = [None, object(), "postgresql://", Session, sqlite3.connect(":memory:")]
    strangers += [engine, async_engine, sessionmaker(engine), pool, connections, psycopg2]
    for stranger in strangers:
        with pytest.raises(
            TypeError, match=r"cannot enqueue through an object of .*; expected a connection"
        ):
            callers.send(stranger, JOB)
        with pytest.raises(TypeError, match="a pool or a session factory has no transaction"):
            asyncio.run(callers.asend(stranger, JOB))
    strangers[4].close()  # type: ignore[attr-defined]


def test_a_connection_to_another_database_system_is_refused() -> None:
    engine = create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises(TypeError, match="a connection to sqlite: not PostgreSQL"),
    ):
        callers.send(connection, JOB)
    engine.dispose()


def test_the_raw_connection_of_an_async_engine_is_refused(dsn: str) -> None:
    """What it leads to has not begun when SQLAlchemy has: the job would survive a rollback."""

    async def main() -> None:
        engine = create_async_engine(
            "postgresql+psycopg://", async_creator=partial(psycopg.AsyncConnection.connect, dsn)
        )
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            with pytest.raises(TypeError, match="cannot enqueue through"):
                await callers.asend(raw, JOB)
            with pytest.raises(TypeError, match="cannot enqueue through"):
                callers.send(raw, JOB)
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_a_proxy_of_a_tracing_tool_is_what_it_wraps(
    dsn: str, connection: psycopg.Connection, driver: Any
) -> None:
    caller = driver.connect(dsn)
    known = len(kinds._of_type)
    callers.send(Traced(caller), JOB)
    assert Traced not in kinds._of_type
    assert len(kinds._of_type) == known
    caller.rollback()
    callers.send(Traced(caller), JOB)
    caller.commit()
    caller.close()
    assert count(connection) == 1


def test_a_type_is_looked_up_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(psycopg.Connection[Any]):
        pass

    with Own.connect(dsn) as caller:
        callers.send(caller, JOB)
        monkeypatch.setattr(kinds, "_ADAPTERS", ())
        callers.send(caller, JOB)
        del kinds._of_type[Own]
        with pytest.raises(TypeError):
            callers.send(caller, JOB)
