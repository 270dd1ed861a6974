"""A caller whose statements commit one by one: what it does, and how it is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable
from tests.enqueue.hosts import HOSTS
from tests.enqueue.sql import count

if TYPE_CHECKING:
    from tests.enqueue.hosts import Host

JOB = '{"task": "t"}'
REFUSED = r"a transaction is required.* commits .* on its own: .*require_transaction=False"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    n: Mapped[int] = mapped_column(primary_key=True)


def test_in_autocommit_the_job_is_committed_at_once(run: Any, business: psycopg.Connection) -> None:
    async def scenario(host: Host) -> None:
        await host.enqueue(JOB)
        assert count(business) == 1

    run(scenario, autocommit=True)


def test_in_autocommit_a_required_transaction_is_missed(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        with pytest.raises(TransactionUnusable, match=REFUSED):
            await host.enqueue(JOB, require_transaction=True)

    run(scenario, autocommit=True)
    assert count(business) == 0


def test_a_required_transaction_that_is_there_is_used(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        await host.enqueue(JOB, require_transaction=True)
        await host.rollback()
        await host.enqueue(JOB, require_transaction=True)
        await host.enqueue(JOB, require_transaction=True)
        await host.commit()

    run(scenario)
    assert count(business) == 2


@pytest.mark.parametrize(
    "kind", ["psycopg Connection", "psycopg2 connection", "pg8000 Connection", "psycopg2 cursor"]
)
def test_a_transaction_begun_by_hand_is_one(
    shared_dsn: str, business: psycopg.Connection, kind: str
) -> None:
    async def main() -> None:
        async with HOSTS[kind](shared_dsn, autocommit=True) as host:
            await host.execute("begin")
            await host.enqueue(JOB, require_transaction=True)
            await host.execute("rollback")
            with pytest.raises(TransactionUnusable, match=REFUSED):
                await host.enqueue(JOB, require_transaction=True)

    asyncio.run(main())
    assert count(business) == 0


def test_a_pipeline_is_no_transaction(shared_dsn: str, business: psycopg.Connection) -> None:
    with psycopg.connect(shared_dsn, autocommit=True) as caller, caller.pipeline():
        caller.execute("select 1")
        with pytest.raises(TransactionUnusable, match=REFUSED):
            callers.send(caller, JOB, require_transaction=True)
        with caller.transaction():
            callers.send(caller, JOB, require_transaction=True)
    assert count(business) == 1


def test_an_async_pipeline_is_no_transaction(shared_dsn: str, business: psycopg.Connection) -> None:
    async def main() -> None:
        connect = psycopg.AsyncConnection.connect(shared_dsn, autocommit=True)
        async with await connect as caller, caller.pipeline():
            await caller.execute("select 1")
            with pytest.raises(TransactionUnusable, match=REFUSED):
                await callers.asend(caller, JOB, require_transaction=True)
            async with caller.transaction():
                await callers.asend(caller, JOB, require_transaction=True)

    asyncio.run(main())
    assert count(business) == 1


def test_a_session_that_is_refused_has_flushed_nothing(
    shared_dsn: str, business: psycopg.Connection
) -> None:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(shared_dsn),
        isolation_level="AUTOCOMMIT",
    )
    said: list[str] = []
    with Session(engine) as session:
        session.connection()
        event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
        session.add(Order(n=1))
        with pytest.raises(TransactionUnusable, match="not AUTOCOMMIT"):
            callers.send(session, JOB, require_transaction=True)
        assert said == []
    engine.dispose()
    assert business.execute("select from orders").fetchall() == []


# Through an app


def work(n: int) -> None:
    """A task's function."""


def test_an_app_that_requires_a_transaction_refuses_to_do_without() -> None:
    with PgQueue("host=nowhere.invalid", settings=Settings(require_transaction=True)) as app:
        task = app.task(name="work")(work)
        with pytest.raises(TransactionUnusable, match=f"without a connection.*{REFUSED[-25:]}"):
            task.enqueue(1)
        with pytest.raises(TransactionUnusable, match="without a connection"):
            app.enqueue(work, 1)
        with pytest.raises(TransactionUnusable, match="without a connection"):
            app.enqueue_many([task.job(1)])
        with pytest.raises(TransactionUnusable, match="without a connection"):
            asyncio.run(task.aenqueue(1))
        with pytest.raises(TransactionUnusable, match="without a connection"):
            asyncio.run(app.aenqueue_many([task.job(1)]))


def test_what_using_says_goes_before_the_app_s_setting(
    shared_dsn: str, business: psycopg.Connection
) -> None:
    with (
        PgQueue(shared_dsn) as free,
        PgQueue(shared_dsn, settings=Settings(require_transaction=True)) as strict,
        psycopg.connect(shared_dsn, autocommit=True) as caller,
    ):
        for app in (free, strict):
            app.task(name="work")(work)
        with pytest.raises(TransactionUnusable, match=REFUSED):
            strict.using(caller).enqueue(work, 1)
        with pytest.raises(TransactionUnusable, match=REFUSED):
            free.using(caller, require_transaction=True).enqueue(work, 1)
        with pytest.raises(TransactionUnusable, match=REFUSED):
            free.tasks["work"].using(caller, require_transaction=True).enqueue(1)
        assert count(business) == 0
        strict.using(caller, require_transaction=False).enqueue(work, 2)
        strict.tasks["work"].using(require_transaction=False).enqueue(3)
        free.using(caller).enqueue(work, 4)
        with caller.transaction():
            strict.using(caller).enqueue_many([strict.tasks["work"].job(5)])
    assert count(business) == 4


def test_an_async_app_requires_it_too(shared_dsn: str, business: psycopg.Connection) -> None:
    async def main(app: PgQueue) -> None:
        connect = psycopg.AsyncConnection.connect(shared_dsn, autocommit=True)
        async with await connect as caller:
            with pytest.raises(TransactionUnusable, match=REFUSED):
                await app.using(caller, require_transaction=True).aenqueue(work, 1)
            jobs = [app.tasks["work"].job(2)]
            with pytest.raises(TransactionUnusable, match=REFUSED):
                await app.using(caller, require_transaction=True).aenqueue_many(jobs)
            async with caller.transaction():
                await app.using(caller, require_transaction=True).aenqueue(work, 3)

    with PgQueue(shared_dsn) as app:
        app.task(name="work")(work)
        asyncio.run(main(app))
    assert count(business) == 1
