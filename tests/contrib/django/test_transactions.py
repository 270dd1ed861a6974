"""Whose transaction: Django's, on the database that holds the jobs."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connections, transaction

from pgqueue.contrib.django import app, app_for
from pgqueue.errors import InvalidPayload, PayloadTooLarge, SchemaError, TransactionUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    Sql = psycopg.Connection[Any]


class Failure(Exception):
    """What goes wrong after the enqueue."""


@contextmanager
def failing_block(using: str = "default") -> Iterator[None]:
    """An atomic block that fails at its end."""
    with suppress(Failure), transaction.atomic(using=using):
        yield
        raise Failure


def jobs(sql: Sql) -> list[str]:
    return [name for (name,) in sql.execute("select task from pgqueue.jobs order by id")]


def items(sql: Sql) -> int:
    row = sql.execute("select count(*) from store_item").fetchone()
    assert row
    return int(row[0])


def test_a_job_commits_with_the_atomic_block(sql: Sql, tasks: ModuleType) -> None:
    with transaction.atomic():
        tasks.Item.objects.create(name="tea")
        result = tasks.add.enqueue(1, b=2)
        assert jobs(sql) == []
    assert jobs(sql) == ["tests.contrib.django.store.tasks.add"]
    assert items(sql) == 1
    assert result.id == str(sql.execute("select id from pgqueue.jobs").fetchone()[0])  # type: ignore[index]


def test_a_job_is_gone_with_a_block_that_fails_after_the_enqueue(
    sql: Sql, tasks: ModuleType
) -> None:
    with failing_block():
        tasks.Item.objects.create(name="tea")
        tasks.add.enqueue(1)
    assert (jobs(sql), items(sql)) == ([], 0)


def test_a_rolled_back_savepoint_takes_only_its_own_job(sql: Sql, tasks: ModuleType) -> None:
    with transaction.atomic():
        tasks.add.enqueue(1)
        with failing_block():
            tasks.send.enqueue("you")
    assert jobs(sql) == ["tests.contrib.django.store.tasks.add"]


def test_outside_of_a_block_a_job_commits_at_once(sql: Sql, tasks: ModuleType) -> None:
    tasks.add.enqueue(1)
    assert len(jobs(sql)) == 1


def test_a_transaction_can_be_required(sql: Sql, tasks: ModuleType) -> None:
    strict = tasks.add.using(backend="strict")
    with pytest.raises(TransactionUnusable, match=r"inside of transaction.atomic\(using='default'"):
        strict.enqueue(1)
    with pytest.raises(TransactionUnusable, match="required"):
        app.using(require_transaction=True).enqueue_many([tasks.own.job("a")])
    with pytest.raises(TransactionUnusable, match="required"):
        app.using(require_transaction=True).copy_jobs([tasks.own.job("a")])
    assert jobs(sql) == []
    with transaction.atomic():
        strict.enqueue(1)
        app.using(require_transaction=True).enqueue_many([tasks.own.job("a")])
    assert len(jobs(sql)) == 2


def test_copied_jobs_are_in_djangos_transaction(sql: Sql, tasks: ModuleType) -> None:
    with failing_block():
        assert app.using().copy_jobs(tasks.own.job(name) for name in "ab") == 2
    assert jobs(sql) == []
    assert app.using().copy_jobs(tasks.own.job(name) for name in "ab") == 2
    assert len(jobs(sql)) == 2


def test_a_doomed_block_is_refused_without_sql(sql: Sql, tasks: ModuleType) -> None:
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            tasks.Item.objects.create(pk=1, name=None)
        with pytest.raises(TransactionUnusable, match="doomed"):
            tasks.add.enqueue(1)
    assert jobs(sql) == []


def test_a_backend_with_a_database_uses_that_ones_transaction(
    sql: Sql, tasks: ModuleType, project: dict[str, str]
) -> None:
    with transaction.atomic():  # of the default database: it has no part in this
        tasks.elsewhere.enqueue()
        transaction.set_rollback(rollback=True)
    with failing_block(using="other"):
        tasks.elsewhere.enqueue()
    with psycopg.connect(project["other"]) as other:
        assert other.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)
        other.execute("truncate pgqueue.jobs")
    assert jobs(sql) == []


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({1, 2}, TypeError),
        (math.nan, InvalidPayload),
        ("\x00", InvalidPayload),
        ({1: "one"}, InvalidPayload),
        ("x" * (1 << 20), PayloadTooLarge),
    ],
)
def test_an_argument_that_json_cannot_hold_is_refused_and_the_block_goes_on(
    sql: Sql, tasks: ModuleType, argument: Any, error: type[Exception]
) -> None:
    with transaction.atomic():
        with pytest.raises(error):
            tasks.add.enqueue(argument)
        tasks.Item.objects.create(name="tea")
    assert (jobs(sql), items(sql)) == ([], 1)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 2})])
def test_arguments_that_the_function_does_not_take_are_refused(
    sql: Sql, tasks: ModuleType, args: Any, kwargs: Any
) -> None:
    with pytest.raises(TypeError):
        tasks.add.enqueue(*args, **kwargs)
    assert jobs(sql) == []


def test_an_async_view_enqueues_on_the_thread_of_its_orm_calls(sql: Sql, tasks: ModuleType) -> None:
    async def view() -> Any:
        result = await tasks.add.aenqueue(1, 2)
        await result.arefresh()
        again = await tasks.add.aget_result(result.id)
        await app.aenqueue_many([tasks.own.job("a"), tasks.own.job("b")])
        await tasks.own.aenqueue("c")
        await sync_to_async(connections.close_all)()
        return again

    assert asyncio.run(view()).args == [1, 2]
    assert len(jobs(sql)) == 4


def test_enqueue_on_an_event_loop_is_refused_by_django(tasks: ModuleType) -> None:
    async def view() -> None:
        tasks.add.enqueue(1)

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(view())


def test_the_apps_own_tasks_use_djangos_transaction_too(sql: Sql, tasks: ModuleType) -> None:
    with failing_block():
        tasks.own.enqueue("a")
        app.enqueue_many(tasks.own.job(name) for name in "bc")
    assert jobs(sql) == []
    with transaction.atomic():
        tasks.own.using(priority=5).enqueue("a")
    app.enqueue_many(tasks.own.job(name) for name in "bc")
    assert len(jobs(sql)) == 3


def test_an_error_that_aborted_the_transaction_dooms_djangos_block(
    tasks: ModuleType, bare: str
) -> None:
    with transaction.atomic(using=bare):
        with pytest.raises(SchemaError):
            app_for(bare).enqueue_many([tasks.own.job("a")])
        with pytest.raises(TransactionUnusable, match="doomed"):
            app_for(bare).enqueue_many([tasks.own.job("a")])
        assert connections[bare].needs_rollback


def test_another_connection_can_still_be_handed_over(
    sql: Sql, tasks: ModuleType, project: dict[str, str]
) -> None:
    with psycopg.connect(project["default"]) as mine:
        tasks.own.using(mine).enqueue("a")
        assert jobs(sql) == []
        mine.rollback()
    assert jobs(sql) == []


def test_a_database_without_the_schema_says_what_to_run(tasks: ModuleType, bare: str) -> None:
    with pytest.raises(SchemaError, match="pgqueue migrate"):
        app_for(bare).enqueue_many([tasks.own.job("a")])
