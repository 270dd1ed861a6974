"""Transactional tasks on SQLAlchemy: in the test's own transaction, and without one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from pgqueue.app import PgQueue
from pgqueue.context import JobContext
from pgqueue.errors import TransactionEnded
from pgqueue.testing import JobTester
from tests.testing.test_hosts import ASYNC, SYNC, psycopg_async, url

if TYPE_CHECKING:
    from pgqueue.tasks import Task


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[bool] = mapped_column(default=False)


insert = text("insert into orders values (:id, true)")


class ShopSession(Session):
    """The class of an app's own sessions."""


class Tasks:
    """An app, and its transactional tasks."""

    def __init__(self, app: PgQueue) -> None:
        self.app, self.seen = app, list[Any]()

        @app.task(name="receipt")
        def receipt(order_id: int) -> int:
            return order_id

        @app.task(name="on_session", transactional="session")
        def on_session(ctx: JobContext, order_id: int, fails: bool = False) -> int:
            self.seen.append(type(ctx.session))
            ctx.session.add(Order(id=order_id, paid=True))
            receipt.using(ctx.session).enqueue(order_id)
            if fails:
                raise ValueError("card refused")
            return order_id

        @app.task(name="on_connection", transactional="connection")
        def on_connection(ctx: JobContext, order_id: int, fails: bool = False) -> int:
            ctx.sa_connection.execute(
                text("insert into orders values (:id, true)"), {"id": order_id}
            )
            receipt.using(ctx.sa_connection).enqueue(order_id)
            if fails:
                raise ValueError("card refused")
            return order_id

        @app.task(name="on_asession", transactional="session")
        async def on_asession(ctx: JobContext, order_id: int, fails: bool = False) -> int:
            self.seen.append(type(ctx.asession))
            ctx.asession.add(Order(id=order_id, paid=True))
            await receipt.using(ctx.asession).aenqueue(order_id)
            if fails:
                raise ValueError("card refused")
            return order_id

        @app.task(name="on_aconnection", transactional="connection")
        async def on_aconnection(ctx: JobContext, order_id: int, fails: bool = False) -> int:
            await ctx.asa_connection.execute(insert, {"id": order_id})
            await receipt.using(ctx.asa_connection).aenqueue(order_id)
            if fails:
                raise ValueError("card refused")
            return order_id

    def task(self, name: str) -> Task[..., Any]:
        return self.app.tasks[name]


@pytest.fixture
def tasks() -> Tasks:
    return Tasks(PgQueue("host=/nowhere"))


@pytest.mark.parametrize("name", ["on_session", "on_connection"])
@pytest.mark.parametrize("kind", [kind for kind in SYNC if kind != "psycopg2"])
def test_a_handler_writes_in_the_transaction_of_the_test(
    kind: str, name: str, tasks: Tasks, shared_dsn: str
) -> None:
    with SYNC[kind](shared_dsn) as caller:
        jobs, task = JobTester(tasks.app, caller), tasks.task(name)
        task.using(caller).enqueue(1)
        task.using(caller).enqueue(2, fails=True)
        drained = jobs.drain(raises=False)
        assert drained.counts == {"succeeded": 2, "retried": 1}
        assert [ran.result for ran in drained.of(task)] == [1, None]
        paid = caller.execute(text("select id from orders where paid")).scalars().all()
        assert paid == [1]
        assert jobs.run_job(task, 3).outcome == "succeeded"
    with psycopg.connect(shared_dsn) as other:
        for table in ("public.orders", "pgqueue.jobs"):
            assert other.execute(f"select from {table}".encode()).fetchall() == []


@pytest.mark.parametrize("name", ["on_asession", "on_aconnection"])
@pytest.mark.parametrize("kind", [kind for kind in ASYNC if " " in kind])
def test_a_coroutine_writes_in_the_transaction_of_the_test(
    kind: str, name: str, tasks: Tasks, shared_dsn: str
) -> None:
    async def main() -> None:
        async with ASYNC[kind](shared_dsn) as caller:
            jobs, task = JobTester(tasks.app, caller), tasks.task(name)
            await task.using(caller).aenqueue(1)
            await task.using(caller).aenqueue(2, fails=True)
            assert (await jobs.adrain(raises=False)).counts == {"succeeded": 2, "retried": 1}
            paid = await caller.execute(text("select id from orders where paid"))
            assert paid.scalars().all() == [1]

    asyncio.run(main())
    with psycopg.connect(shared_dsn) as other:
        assert other.execute("select from orders").fetchall() == []


def test_the_session_is_of_the_apps_own_making(shared_dsn: str) -> None:
    """Its class, and what listens to it; a scoped one is new, too, beside that of the test."""
    nowhere = create_engine("postgresql+psycopg://nowhere")
    for factory in (
        sessionmaker(nowhere, class_=ShopSession),
        scoped_session(sessionmaker(nowhere, class_=ShopSession)),
    ):
        tasks = Tasks(PgQueue("host=/nowhere", sessions=factory))
        with SYNC["session"](shared_dsn) as session:
            assert JobTester(tasks.app, session).run_job(tasks.task("on_session"), 1).result == 1
            assert session.get_one(Order, 1).paid
        assert issubclass(tasks.seen[0], ShopSession)


def test_an_async_session_is_of_the_apps_own_making(shared_dsn: str) -> None:
    class OwnSession(AsyncSession): ...

    async def main() -> None:
        nowhere = create_async_engine("postgresql+psycopg://nowhere")
        app = PgQueue("host=/nowhere", asessions=async_sessionmaker(nowhere, class_=OwnSession))
        tasks = Tasks(app)
        async with ASYNC["session on asyncpg"](shared_dsn) as session:
            ran = await JobTester(app, session).arun_job(tasks.task("on_asession"), 1)
            assert ran.result == 1
        assert tasks.seen == [OwnSession]

    asyncio.run(main())


def test_what_the_database_refuses_at_the_flush_fails_the_attempt(
    tasks: Tasks, shared_dsn: str
) -> None:
    with SYNC["session"](shared_dsn) as session:
        session.execute(text("insert into orders values (1)"))
        ran = JobTester(tasks.app, session).run_job(tasks.task("on_session"), 1)
        assert (ran.outcome, type(ran.error)) == ("retried", IntegrityError)
        assert session.execute(text("select paid from orders")).scalars().all() == [False]


@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_handler_that_ends_its_sessions_transaction_fails_and_leaves_nothing(
    end: str, kind: str, tasks: Tasks, shared_dsn: str
) -> None:
    @tasks.app.task(name="ends", transactional="session")
    def ends(ctx: JobContext) -> None:
        ctx.session.add(Order(id=1))
        getattr(ctx.session, end)()
        ctx.session.add(Order(id=2))

    with SYNC[kind](shared_dsn) as caller:
        caller.execute(text("insert into orders values (7)"))
        ran = JobTester(tasks.app, caller).run_job(ends)
        assert (ran.outcome, type(ran.error)) == ("retried", TransactionEnded)
        assert caller.execute(text("select id from orders")).scalars().all() == [7]


@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_handler_cannot_end_the_transaction_of_the_test(
    end: str, kind: str, tasks: Tasks, shared_dsn: str
) -> None:
    @tasks.app.task(name="ends", transactional="connection")
    def ends(ctx: JobContext) -> None:
        ctx.sa_connection.execute(text("insert into orders values (1)"))
        with suppress(TransactionEnded):
            getattr(ctx.sa_connection, end)()

    with SYNC[kind](shared_dsn) as caller:
        caller.execute(text("insert into orders values (7)"))
        ran = JobTester(tasks.app, caller).run_job(ends)
        assert (ran.outcome, type(ran.error)) == ("retried", TransactionEnded)
        assert caller.execute(text("select id from orders")).scalars().all() == [7]
        caller.rollback()
        assert caller.execute(text("select id from orders")).scalars().all() == []


def test_without_a_connection_they_run_on_sessions_that_commit(
    connection: psycopg.Connection, dsn: str
) -> None:
    connection.execute("create table orders (id bigint primary key, paid boolean default false)")
    engine = create_engine(url(dsn, "psycopg"), poolclass=NullPool)
    with PgQueue(dsn, sessions=sessionmaker(engine)) as app:
        tasks, number = Tasks(app), 0
        jobs = JobTester(app)
        for name in ("on_session", "on_connection", "on_asession", "on_aconnection"):
            number += 2
            tasks.task(name).enqueue(number)
            tasks.task(name).enqueue(number + 1, fails=True)
        assert jobs.drain(raises=False).counts == {"succeeded": 8, "retried": 4}
        assert asyncio.run(jobs.arun_job(tasks.task("on_asession"), 100)).result == 100
        assert asyncio.run(jobs.arun_job(tasks.task("on_session"), 101)).result == 101
    found = connection.execute("select id from orders order by id").fetchall()
    assert [id_ for (id_,) in found] == [2, 4, 6, 8, 100, 101]


def test_a_commit_that_is_refused_fails_the_attempt(
    connection: psycopg.Connection, dsn: str
) -> None:
    connection.execute("create table parts (id int unique deferrable initially deferred)")
    with PgQueue(dsn) as app:

        @app.task(name="twice", transactional="connection")
        def twice(ctx: JobContext) -> None:
            ctx.sa_connection.execute(text("insert into parts values (1), (1)"))

        ran = JobTester(app).run_job(twice)
    assert (ran.outcome, ran.state) == ("retried", "ready")
    assert "duplicate key" in str(ran.error)


def test_a_connection_that_leads_to_no_session_is_an_error_that_says_so(
    tasks: Tasks, conn: psycopg.Connection, shared_dsn: str
) -> None:
    jobs = JobTester(tasks.app, conn)
    with pytest.raises(TypeError, match=r"on_session is a plain def .* SQLAlchemy Session or"):
        jobs.run_job(tasks.task("on_session"), 1)
    with pytest.raises(TypeError, match=r"on_asession is an async def .* AsyncSession or"):
        jobs.run_job(tasks.task("on_asession"), 1)

    async def main() -> None:
        async with psycopg_async(shared_dsn) as caller:
            with pytest.raises(TypeError, match=r"on_asession is an async def .* AsyncSession or"):
                await JobTester(tasks.app, caller).arun_job(tasks.task("on_asession"), 1)
        async with ASYNC["session on asyncpg"](shared_dsn) as caller:
            with pytest.raises(TypeError, match=r"on_session is a plain def .* SQLAlchemy Session"):
                await JobTester(tasks.app, caller).arun_job(tasks.task("on_session"), 1)

    asyncio.run(main())


def test_in_asynchronous_code_a_plain_task_gets_the_session_of_a_synchronous_test(
    tasks: Tasks, shared_dsn: str
) -> None:
    with SYNC["session"](shared_dsn) as session:
        tasks.task("on_session").using(session).enqueue(1)
        drained = asyncio.run(JobTester(tasks.app, session).adrain())
        assert drained.counts == {"succeeded": 2}
        assert session.get_one(Order, 1).paid


def test_a_session_that_is_in_use_is_refused(shared_dsn: str) -> None:
    with SYNC["session"](shared_dsn) as session:
        tasks = Tasks(PgQueue("host=/nowhere", sessions=lambda: session))
        with pytest.raises(TypeError, match="a session that is in a transaction"):
            JobTester(tasks.app, session).run_job(tasks.task("on_session"), 1)
