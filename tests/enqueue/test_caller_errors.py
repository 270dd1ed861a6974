"""What goes wrong in a caller's transaction: said in our words, or left as the driver said it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.errors import UndefinedTable

from pgqueue.enqueue import callers
from pgqueue.enqueue.callers import explained
from pgqueue.errors import (
    EnqueueError,
    InvalidJob,
    PgQueueError,
    SchemaError,
    TransactionUnusable,
)
from tests.enqueue.hosts import HOSTS
from tests.enqueue.sql import count

if TYPE_CHECKING:
    from tests.enqueue.hosts import Host

JOB = '{"task": "t"}'
KEYED = '{"task": "t", "key": "k"}'


def refused(run: Any, kind: type[Exception], *statements: str, document: str = JOB) -> Exception:
    """The error of an enqueue after these statements; its cause is the driver's."""

    async def scenario(host: Host) -> Exception:
        for statement in statements:
            with suppress(Exception):  # an aborted transaction is the point of it
                await host.execute(statement)
        with pytest.raises(kind) as refusal:
            await host.enqueue(document)
        await host.rollback()
        return refusal.value

    error: Exception = run(scenario)
    return error


def test_an_aborted_transaction_is_refused_with_advice(run: Any) -> None:
    error = refused(run, TransactionUnusable, "select * from nowhere")
    assert "roll back" in str(error)


def test_a_read_only_transaction_is_refused(run: Any) -> None:
    error = refused(run, TransactionUnusable, "set transaction read only")
    assert "read-only" in str(error)
    assert error.__cause__ is not None


def test_what_only_the_database_can_refuse_is_an_invalid_job(run: Any) -> None:
    document = json.dumps({"task": "t", "expires_at": "2020-01-01T00:00:00Z"})
    error = refused(run, InvalidJob, document=document)
    assert str(error).startswith('expires_at: "2020-01-01T00:00:00Z" is refused; expected a time')
    assert "\n" not in str(error)
    assert error.__cause__ is not None


def test_a_missing_schema_says_what_to_run(run: Any) -> None:
    error = refused(run, SchemaError, "drop schema pgqueue cascade")
    assert "run `pgqueue migrate`" in str(error)
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    "damage",
    [
        "drop function pgqueue.enqueue(text)",
        "drop table pgqueue.jobs cascade",
        "alter table pgqueue.jobs drop column meta cascade",
    ],
)
def test_a_schema_that_is_behind_says_what_to_run(dsn: str, damage: str) -> None:
    async def scenario(host: Host) -> None:
        await host.execute(damage)
        with pytest.raises(SchemaError, match="run `pgqueue migrate`"):
            await host.enqueue(JOB)

    async def main() -> None:
        async with HOSTS["psycopg Connection"](dsn) as host:
            await scenario(host)

    asyncio.run(main())


def test_a_role_without_rights_is_told_so(run: Any, business: psycopg.Connection) -> None:
    business.execute("grant usage on schema pgqueue to pg_monitor")
    error = refused(run, EnqueueError, "set local role pg_monitor")
    assert type(error) is EnqueueError
    assert "permission denied for function enqueue" in str(error)


# The driver's own


def test_the_caller_s_own_timeout_is_its_own_error(run: Any, business: psycopg.Connection) -> None:
    async def scenario(host: Host) -> Exception:
        await host.execute("set local lock_timeout = '20ms'")
        with pytest.raises(Exception, match="lock timeout") as raised:
            await host.enqueue(JOB)
        await host.rollback()
        return raised.value

    with business.transaction():
        business.execute("lock pgqueue.jobs in access exclusive mode")
        error = run(scenario)
    assert not isinstance(error, PgQueueError)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_serialization_failure_is_the_driver_s_own_error(
    run: Any, business: psycopg.Connection, level: str
) -> None:
    async def failure(host: Host, act: Any) -> Exception:
        """What the caller's act raises when rivals commit after its snapshot was taken."""
        business.execute("delete from pgqueue.idempotency_keys; delete from pgqueue.jobs")
        business.execute("delete from orders; insert into orders values (1)")
        await host.execute(f"set transaction isolation level {level}")
        await host.execute("select count(*) from orders")
        business.execute("update orders set n = 2")
        business.execute("select pgqueue.enqueue(%s)", [KEYED])
        with pytest.raises(Exception, match="could not serialize") as raised:
            await act
        await host.rollback()
        return raised.value

    async def scenario(host: Host) -> tuple[Exception, Exception]:
        theirs = await failure(host, host.execute("update orders set n = 3"))
        ours = await failure(host, host.enqueue(KEYED))
        return theirs, ours

    theirs, ours = run(scenario)
    assert type(ours) is type(theirs)
    assert _state(ours) == _state(theirs) == "40001"
    assert count(business) == 1  # the rival's


def _state(error: Exception) -> str | None:
    return explained.diagnosis(explained.driver_error(error))[0]


def test_in_a_pipeline_an_earlier_error_is_the_caller_s_own(shared_dsn: str) -> None:
    def produce() -> None:
        with psycopg.connect(shared_dsn) as host, host.pipeline():
            host.execute("select from nowhere")
            callers.send(host, JOB)

    async def aproduce() -> None:
        async with await psycopg.AsyncConnection.connect(shared_dsn) as host, host.pipeline():
            await host.execute("select from nowhere")
            await callers.asend(host, JOB)

    with pytest.raises(UndefinedTable, match="nowhere"):
        produce()
    with pytest.raises(UndefinedTable, match="nowhere"):
        asyncio.run(aproduce())


def test_an_error_that_says_nothing_passes() -> None:
    assert explained.explanation(Exception()) is None


def test_the_class_that_older_dialects_put_before_a_message_is_cut_off() -> None:
    error = Exception("<class 'asyncpg.exceptions.RaiseError'>: priority: 5 is refused\nmore")
    assert explained.diagnosis(error) == (None, "priority: 5 is refused")
