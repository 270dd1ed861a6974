"""Django's connections: several databases, broken blocks, and async views."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.db.transaction import atomic
from django.utils.connection import ConnectionProxy
from psycopg import IsolationLevel

from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable
from tests.enqueue.hosts import django as hosts
from tests.enqueue.sql import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests import servers

JOB = '{"task": "t"}'


@pytest.fixture
def shop(shared_dsn: str, business: psycopg.Connection) -> Iterator[Any]:
    """What `django.db.connection` is to a program whose default database is the shared one."""
    assert business.info.dbname in shared_dsn
    hosts.declare("pgqueue_shop", shared_dsn)
    yield ConnectionProxy(connections, "pgqueue_shop")
    hosts.close("pgqueue_shop")


def test_a_job_belongs_to_the_atomic_block_of_its_database(
    shop: Any, business: psycopg.Connection, databases: servers.Databases, template: str
) -> None:
    with databases.fresh(template) as other_dsn:
        hosts.declare("pgqueue_other", other_dsn)
        other = connections["pgqueue_other"]
        with atomic("pgqueue_other"):
            callers.send(other, JOB)
            with atomic("pgqueue_shop"):
                callers.send(shop, JOB)
            other.set_rollback(True)
        assert count(business) == 1
        with other.cursor() as cursor:
            cursor.execute("select count(*) from pgqueue.jobs")
            assert cursor.fetchone() == (0,)
        hosts.close("pgqueue_other")


@pytest.mark.parametrize(
    "options",
    [
        {"server_side_binding": True},
        {"isolation_level": IsolationLevel.SERIALIZABLE},
        {"prepare_threshold": 0},
    ],
)
def test_a_database_s_options_do_not_matter(
    shared_dsn: str, business: psycopg.Connection, options: dict[str, Any]
) -> None:
    hosts.declare("pgqueue_odd", shared_dsn, **options)
    with atomic("pgqueue_odd"):
        callers.send(connections["pgqueue_odd"], JOB, require_transaction=True)
        callers.send(connections["pgqueue_odd"], JOB)
    hosts.close("pgqueue_odd")
    assert count(business) == 2


def test_without_autocommit_there_is_a_transaction(shop: Any, business: psycopg.Connection) -> None:
    shop.set_autocommit(False)
    callers.send(shop, JOB, require_transaction=True)
    shop.rollback()
    callers.send(shop, JOB, require_transaction=True)
    shop.commit()
    assert count(business) == 1


def test_a_broken_block_is_refused_before_any_sql(shop: Any, business: psycopg.Connection) -> None:
    with atomic("pgqueue_shop"):
        callers.send(shop, JOB)
        shop.set_rollback(True)
        with pytest.raises(TransactionUnusable, match="doomed this atomic") as refusal:
            callers.send(shop, JOB)
        assert refusal.value.__cause__ is None
    assert count(business) == 0


def test_a_connection_lost_inside_a_block_is_refused(
    shop: Any, business: psycopg.Connection
) -> None:
    with atomic("pgqueue_shop"):
        callers.send(shop, JOB)
        shop.close()
        with pytest.raises(TransactionUnusable, match="closed"):
            callers.send(shop, JOB)
    assert count(business) == 0


def test_who_watches_django_s_statements_sees_the_enqueue(shop: Any) -> None:
    said: list[str] = []

    def watch(execute: Any, sql: str, *rest: Any) -> Any:
        said.append(sql)
        return execute(sql, *rest)

    with shop.execute_wrapper(watch):
        callers.send(shop, JOB)
    assert said == ["select pgqueue.enqueue(%s::text)"]


def test_an_async_view_enqueues_in_one_function_with_its_block(
    shop: Any, business: psycopg.Connection
) -> None:
    def order(number: int) -> int:
        with atomic("pgqueue_shop"), shop.cursor() as cursor:
            cursor.execute("insert into orders values (%s)", [number])
            answer = json.loads(callers.send(shop, JOB, require_transaction=True))
            cursor.execute("insert into orders values (%s)", [number + 1])
            return int(answer["id"])

    async def view() -> None:
        assert await sync_to_async(order)(1) > 0
        with pytest.raises(Exception, match="duplicate key"):
            await sync_to_async(order)(0)  # fails after the enqueue
        await sync_to_async(hosts.close)("pgqueue_shop")

    asyncio.run(view())
    assert count(business) == 1


def test_an_async_view_without_sync_to_async_hears_it_from_django(shop: Any) -> None:
    async def view() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            callers.send(shop, JOB)

    asyncio.run(view())


def test_an_async_view_cannot_have_its_jobs_enqueued_by_aenqueue(shop: Any) -> None:
    with pytest.raises(TypeError, match=r"synchronous: .* one sync_to_async\(\.\.\.\) function"):
        asyncio.run(callers.asend(shop, JOB))


def test_another_engine_and_a_cache_are_refused() -> None:
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    declared = connections.configure_settings({"default": {}, "lite": sqlite})
    connections.settings["lite"] = declared["lite"]
    with pytest.raises(TypeError, match="Django's connection to sqlite: not PostgreSQL"):
        callers.send(connections["lite"], JOB)
    with pytest.raises(TypeError, match="something that is no database"):
        callers.send(cache, JOB)
