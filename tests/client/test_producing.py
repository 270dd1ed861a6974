"""Enqueue through an app: in the caller's transaction, or in one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import connections
from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.errors import ConnectionFailed, InvalidJob, SchemaError, UnknownTask
from pgqueue.handle import JobHandle
from pgqueue.job import NewJob
from tests.worker.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.context import JobContext


def add(x: int, y: int = 0) -> int:
    return x + y


def with_context(context: JobContext, x: int) -> int:
    return context.id + x


def stored(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select id, task, args, queue from pgqueue.jobs order by 1"
    ).fetchall()


def test_without_a_connection_the_job_is_committed_when_enqueue_returns(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)
    handle = task.enqueue(1, y=2)
    assert handle.created
    assert stored(connection) == [(handle.id, "add", {"x": 1, "y": 2}, "default")]


def test_delay_is_enqueue(app: PgQueue, connection: psycopg.Connection[Any]) -> None:
    task = app.task(name="add")(add)
    handles = [task.delay(1), task.using(queue="q").delay(2)]
    assert [row[0] for row in stored(connection)] == [handle.id for handle in handles]


def test_in_the_caller_s_transaction_a_rollback_leaves_no_job(
    app: PgQueue, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)
    with psycopg.connect(dsn) as caller:
        task.using(caller).enqueue(1)
        app.using(caller, queue="q").enqueue(add, 2)
        app.using(caller).enqueue_many([task.job(3)])
        caller.rollback()
        assert stored(connection) == []
        kept = task.using(caller, queue="kept").enqueue(4)
    assert stored(connection) == [(kept.id, "add", {"x": 4}, "kept")]


def test_the_app_enqueues_a_registered_function_with_options(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    app.task(name="context")(with_context)
    handle = app.using(queue="q").enqueue(with_context, 5)
    assert stored(connection) == [(handle.id, "context", {"x": 5}, "q")]


def test_many_jobs_are_one_transaction_in_order(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)
    handles = app.enqueue_many(task.using(key=str(n % 3)).job(n) for n in range(5))
    assert [handle.created for handle in handles] == [True, True, True, False, False]
    assert handles[3] == handles[0]
    assert [row[2]["x"] for row in stored(connection)] == [0, 1, 2]


def test_one_bad_job_among_many_leaves_none(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    jobs = [NewJob(task="a"), NewJob(task="b", priority=1000)]
    with pytest.raises(InvalidJob, match=r"\[1\]\.priority"):
        app.enqueue_many(jobs)
    assert stored(connection) == []


def test_a_wrong_call_reaches_no_database() -> None:
    with PgQueue("host=nowhere.invalid") as app:
        task: Any = app.task(name="add")(add)
        with pytest.raises(TypeError, match="missing a required argument"):
            task.enqueue()
        with pytest.raises(InvalidJob, match="args"):
            task.enqueue({1, 2})
        with pytest.raises(UnknownTask):
            app.enqueue(stored, task)


def test_from_a_coroutine_without_a_connection_a_thread_enqueues(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)

    async def produce() -> list[JobHandle]:
        one = await task.aenqueue(1)
        two = await app.aenqueue(add, 2)
        return [one, two, *await app.aenqueue_many([task.job(3)])]

    handles = asyncio.run(produce())
    assert [row[0] for row in stored(connection)] == [handle.id for handle in handles]


def test_on_an_async_connection_the_caller_s_transaction_rules(
    app: PgQueue, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)

    async def produce(*, commit: bool) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as caller:
            await task.using(caller).aenqueue(1)
            await app.using(caller).aenqueue(add, 2)
            await app.using(caller).aenqueue_many([task.job(3)])
            await (caller.commit() if commit else caller.rollback())

    asyncio.run(produce(commit=False))
    assert stored(connection) == []
    asyncio.run(produce(commit=True))
    assert [row[2]["x"] for row in stored(connection)] == [1, 2, 3]


def test_enqueue_on_an_async_connection_names_aenqueue(app: PgQueue, dsn: str) -> None:
    task = app.task(name="add")(add)

    async def produce() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as caller:
            with pytest.raises(TypeError, match="aenqueue"):
                task.using(caller).enqueue(1)

    asyncio.run(produce())


def test_threads_share_the_pool(app: PgQueue, connection: psycopg.Connection[Any]) -> None:
    task = app.task(name="add")(add)
    start = threading.Barrier(8)

    def produce() -> None:
        start.wait()
        for n in range(5):
            task.enqueue(n)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored(connection)) == 40


def test_a_closed_app_opens_again_at_its_next_use(app: PgQueue) -> None:
    task = app.task(name="add")(add)
    task.enqueue(1)
    app.close()
    app.close()
    assert task.enqueue(2).created


def test_a_forked_process_has_a_pool_of_its_own(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)
    task.enqueue(1)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if task.enqueue(2).created else 1)
    assert os.waitpid(child, 0)[1] == 0
    task.enqueue(3)
    assert [row[2]["x"] for row in stored(connection)] == [1, 2, 3]


@pytest.fixture
def quick() -> Settings:
    return Settings(connect_timeout=1, pool_size=1)


def test_a_pool_that_is_busy_says_so(dsn: str, quick: Settings) -> None:
    with PgQueue(dsn, settings=quick) as app:
        task = app.task(name="add")(add)

        def jobs() -> Iterator[NewJob]:
            with pytest.raises(ConnectionFailed, match="all 1 connections of the app's own pool"):
                task.enqueue(1)
            yield task.job(2)

        assert len(app.enqueue_many(jobs())) == 1


def test_a_connection_that_was_lost_leaves_the_outcome_unknown(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="add")(add)

    def jobs() -> Iterator[NewJob]:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'pgqueue:client' and datname = current_database()"
        )
        yield task.job(1)

    with pytest.raises(ConnectionFailed, match="it is unknown whether the transaction"):
        app.enqueue_many(jobs())
    assert task.enqueue(2).created


def test_a_missing_schema_says_what_to_run(empty_dsn: str) -> None:
    with PgQueue(empty_dsn) as app, pytest.raises(SchemaError, match="pgqueue migrate"):
        app.task(name="add")(add).enqueue(1)


def test_handles_are_equal_when_they_name_the_same_job() -> None:
    assert JobHandle(1, created=True) == JobHandle(1, created=False)
    assert len({JobHandle(1, created=True), JobHandle(1, created=False)}) == 1
    assert JobHandle(1, created=True) != JobHandle(2, created=True)


def test_an_enqueue_of_our_own_outlives_connections_that_fell_silent(
    dsn: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a balancer that has lost its server: nothing says that nobody answers."""
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    with Proxy(dsn) as proxy, PgQueue(proxy.dsn, settings=Settings(statement_timeout=0.5)) as app:
        task = app.task(name="add")(add)
        task.enqueue(1)
        proxy.deafen()
        late = threading.Thread(target=task.enqueue, args=(2,), daemon=True)
        late.start()
        late.join(10)
        assert not late.is_alive(), "it waits for an answer that never comes"
    assert [args for _, _, args, _ in stored(connection)] == [{"x": 1}, {"x": 2}]
