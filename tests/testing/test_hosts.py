"""The same through every kind of connection that a test may hold."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pgqueue.app import PgQueue
from pgqueue.testing import JobTester
from tests.testing.shop import Shop, declare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def url(dsn: str, driver: str) -> str:
    return dsn.replace("postgresql:", f"postgresql+{driver}:")


@contextmanager
def psycopg2_connection(dsn: str) -> Iterator[Any]:
    connection = psycopg2.connect(dsn)
    yield connection
    connection.close()


def alchemy(driver: str, *, session: bool) -> Callable[[str], Any]:
    @contextmanager
    def opened(dsn: str) -> Iterator[Any]:
        engine = create_engine(url(dsn, driver), poolclass=NullPool)
        with ExitStack() as leaving:
            yield leaving.enter_context(Session(engine) if session else engine.connect())
        engine.dispose()

    return opened


@contextmanager
def scoped(dsn: str) -> Iterator[Any]:
    engine = create_engine(url(dsn, "psycopg"), poolclass=NullPool)
    session = scoped_session(sessionmaker(engine))
    yield session
    session.remove()


SYNC = {
    "psycopg2": psycopg2_connection,
    "connection": alchemy("psycopg", session=False),
    "session": alchemy("psycopg", session=True),
    "session on psycopg2": alchemy("psycopg2", session=True),
    "scoped_session": scoped,
}


@asynccontextmanager
async def psycopg_async(dsn: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        yield connection
        await connection.rollback()


@asynccontextmanager
async def asyncpg_connection(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


def async_alchemy(driver: str, *, session: bool) -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Any]:
        engine = create_async_engine(url(dsn, driver), poolclass=NullPool)
        async with AsyncSession(engine) if session else engine.connect() as caller:
            yield caller
        await engine.dispose()

    return opened


ASYNC = {
    "psycopg": psycopg_async,
    "asyncpg": asyncpg_connection,
    "connection on asyncpg": async_alchemy("asyncpg", session=False),
    "session on asyncpg": async_alchemy("asyncpg", session=True),
    "session on psycopg": async_alchemy("psycopg", session=True),
}


@pytest.mark.parametrize("kind", SYNC)
def test_a_synchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    with SYNC[kind](shared_dsn) as caller:
        jobs = JobTester(shop.app, caller)
        shop.note.using(caller).enqueue("100% it's \\ :name $1")
        shop.anote.using(caller).enqueue("b")
        shop.fail.using(caller).enqueue("100% it's \\ :name $1")
        drained = jobs.drain(raises=False)
        assert drained.counts == {"succeeded": 2, "retried": 1}
        assert drained[0].result == "100% IT'S \\ :NAME $1"
        jobs.assert_enqueued(shop.fail, "100% it's \\ :name $1")
        jobs.age(60)
        assert jobs.drain(raises=False).counts == {"retried": 1}
        assert jobs.run_job(shop.note, "c").outcome == "succeeded"
        with jobs.inline():
            shop.note.using(caller).enqueue("d")
    assert shop.done[-2:] == ["c", "d"]


@pytest.mark.parametrize("kind", ASYNC)
def test_an_asynchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        async with ASYNC[kind](shared_dsn) as caller:
            jobs = JobTester(shop.app, caller)
            await shop.note.using(caller).aenqueue("100% it's \\ :name $1")
            await shop.anote.using(caller).aenqueue("b")
            await shop.fail.using(caller).aenqueue("x")
            drained = await jobs.adrain(raises=False)
            assert drained.counts == {"succeeded": 2, "retried": 1}
            await jobs.aassert_enqueued(shop.fail, "x")
            await jobs.arefute_enqueued(shop.fail, "y")
            await jobs.aage(60)
            assert (await jobs.adrain(raises=False)).counts == {"retried": 1}
            assert (await jobs.arun_job(shop.note, "c")).result == "C"
            [failed] = await jobs.aenqueued()
            assert (await jobs.ajob(failed.id)).attempt == 2
            with jobs.inline():
                await shop.app.using(caller).aenqueue(shop.anote, "d")
                await shop.app.using(caller).aenqueue_many([shop.note.job("e")])
            await shop.fail.using(caller).aenqueue("no luck")
            with pytest.raises(ValueError, match="no luck"):
                await jobs.adrain()

    asyncio.run(main())
    assert shop.done[-4:] == ["c", "d", "e", "no luck"]


@pytest.mark.parametrize("kind", ["connection", "session", "scoped_session"])
def test_a_transactional_task_gets_the_connection_under_sqlalchemy(
    kind: str, shop: Shop, shared_dsn: str
) -> None:
    with SYNC[kind](shared_dsn) as caller:
        jobs = JobTester(shop.app, caller)
        shop.charge.using(caller).enqueue(order_id=1)
        shop.charge.using(caller).enqueue(order_id=2, fails=True)
        assert jobs.drain(raises=False).counts == {"succeeded": 2, "retried": 1}
    assert shop.done == ["receipt 1"]


@pytest.mark.parametrize("kind", ["psycopg", "session on psycopg"])
def test_a_transactional_coroutine_gets_the_async_connection(
    kind: str, shop: Shop, shared_dsn: str
) -> None:
    async def main() -> None:
        async with ASYNC[kind](shared_dsn) as caller:
            ran = await JobTester(shop.app, caller).arun_job(shop.acharge, order_id=1)
            assert ran.outcome == "succeeded"

    asyncio.run(main())


def test_a_transactional_task_without_a_fitting_connection_is_an_error_that_says_so(
    jobs: JobTester, shop: Shop, shared_dsn: str
) -> None:
    with pytest.raises(TypeError, match=r"shop\.acharge is an async def.*AsyncConnection"):
        jobs.run_job(shop.acharge, 1)
    with (
        psycopg2_connection(shared_dsn) as caller,
        pytest.raises(TypeError, match=r"shop\.charge is a plain def .* leads to none"),
    ):
        JobTester(shop.app, caller).run_job(shop.charge, 1)


def test_a_handler_whose_flush_fails_leaves_the_session_usable(shop: Shop, shared_dsn: str) -> None:
    with SYNC["session"](shared_dsn) as session:
        session.execute(text("insert into orders values (1)"))

        def breaks() -> None:
            session.execute(text("insert into orders values (1)"))

        task = shop.app.task(name="breaks")(breaks)
        task.using(session).enqueue()
        with pytest.raises(IntegrityError):
            JobTester(shop.app, session).drain()
        assert session.execute(text("select id from orders")).scalars().all() == [1]


def test_a_handler_that_commits_the_session_of_the_test_is_within_its_outer_transaction(
    shop: Shop, shared_dsn: str
) -> None:
    """SQLAlchemy's recipe for test suites: the session's commits are savepoints."""
    engine = create_engine(url(shared_dsn, "psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        outer = connection.begin()
        session = Session(connection, join_transaction_mode="create_savepoint")

        def commits() -> None:
            session.execute(text("insert into orders values (1)"))
            session.commit()

        task = shop.app.task(name="commits")(commits)
        task.using(session).enqueue()
        session.commit()
        assert JobTester(shop.app, session).drain().counts == {"succeeded": 1}
        assert session.execute(text("select id from orders")).scalars().all() == [1]
        outer.rollback()
        assert connection.execute(text("select id from orders")).scalars().all() == []


def test_async_scoped_sessions_too(shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        engine = create_async_engine(url(shared_dsn, "psycopg"), poolclass=NullPool)
        session = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        await shop.note.using(session).aenqueue("a")
        assert len(await JobTester(shop.app, session).adrain()) == 1
        await session.remove()
        await engine.dispose()

    asyncio.run(main())


def test_the_wrong_form_says_which_is_right(shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        async with ASYNC["psycopg"](shared_dsn) as caller:
            with pytest.raises(TypeError, match=r"asynchronous: use .*await jobs\.adrain"):
                JobTester(shop.app, caller).drain()
        with psycopg.connect(shared_dsn) as plain:
            jobs = JobTester(shop.app, plain)
            shop.anote.using(plain).enqueue("a")
            with pytest.raises(TypeError, match=r"event loop runs already: use .*adrain"):
                jobs.drain()
            plain.rollback()

    asyncio.run(main())
    with pytest.raises(TypeError, match=r"cannot use builtins\.str: expected a connection"):
        JobTester(shop.app, "postgresql://").drain()


def test_in_asynchronous_code_the_apps_own_connections_do_too(dsn: str) -> None:
    async def main() -> None:
        with PgQueue(dsn) as app:
            shop, jobs = declare(app), JobTester(app)
            await shop.note.aenqueue("a")
            await shop.anote.aenqueue("b")
            assert len(await jobs.adrain()) == 2
            assert (await jobs.arun_job(shop.echo, 1)).result == 1

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg", "session on asyncpg"])
def test_a_coroutine_that_breaks_the_transaction_is_undone_and_the_test_goes_on(
    kind: str, shop: Shop, shared_dsn: str
) -> None:
    async def main() -> None:
        async with ASYNC[kind](shared_dsn) as caller:
            insert = "insert into orders values (1)"
            query = text(insert) if "session" in kind else insert

            async def breaks() -> None:
                await caller.execute(query)
                await caller.execute(query)

            task = shop.app.task(name="breaks")(breaks)
            jobs = JobTester(shop.app, caller)
            ran = await jobs.arun_job(task)
            assert ran.outcome == "retried"
            assert "duplicate key" in str(ran.error)
            assert (await jobs.arun_job(shop.note, "a")).outcome == "succeeded"

    asyncio.run(main())


def test_literals_are_read_alike_whatever_the_host_has_set(
    jobs: JobTester, shop: Shop, conn: psycopg.Connection
) -> None:
    conn.execute("set local standard_conforming_strings = off")
    ran = jobs.run_job(shop.fail, "it's \\ C:\\new")
    recorded = conn.execute("select message from pgqueue.attempts").fetchone()
    assert recorded == (str(ran.error),) == ("it's \\ C:\\new",)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_in_a_test_that_anyio_runs(shop: Shop, shared_dsn: str) -> None:
    async with ASYNC["session on psycopg"](shared_dsn) as session:
        await shop.anote.using(session).aenqueue("a")
        assert len(await JobTester(shop.app, session).adrain()) == 1
    assert shop.done == ["a"]
