"""Every caller's transaction decides: committed means enqueued, rolled back means never existed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from pgqueue.enqueue import contract
from pgqueue.errors import EnqueueError, InvalidJob, SchemaError, TransactionUnusable
from pgqueue.job import Enqueued, NewJob
from tests.enqueue.hosts import HOSTS, Host
from tests.enqueue.sql import EMPTY, count, row_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

Scenario: TypeAlias = "Callable[[Host], Awaitable[Any]]"
LIMIT = 1024 * 1024
EXPIRY = datetime(2040, 1, 1, tzinfo=UTC)
JOB = NewJob(
    task="photos.thumb",
    args={"name": 'Zoë "%s" :id', "n": [1, 2.5, None]},
    queue="media",
    priority=7,
    expires_at=EXPIRY,
    max_attempts=3,
    timeout=2.5,
    meta={"tenant": "ä"},
    version=2,
)
STORED = EMPTY | {
    "task": "photos.thumb",
    "args": {"name": 'Zoë "%s" :id', "n": [1, 2.5, None]},
    "queue": "media",
    "priority": 7,
    "expires_at": EXPIRY,
    "max_attempts": 3,
    "timeout": 2.5,
    "meta": {"tenant": "ä"},
    "version": 2,
}


@pytest.fixture(params=HOSTS)
def run(request: pytest.FixtureRequest, dsn: str) -> Callable[[Scenario], Any]:
    """Runs a scenario with one kind of caller."""

    async def main(scenario: Scenario) -> Any:
        async with HOSTS[request.param](dsn) as host:
            return await scenario(host)

    return lambda scenario: asyncio.run(main(scenario))


@pytest.fixture
def business(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute("create table orders (n int unique)")
    return connection


async def enqueue(host: Host, job: NewJob = JOB) -> Enqueued:
    return contract.decode(await host.enqueue(contract.encode(job, limit=LIMIT)))


def orders(connection: psycopg.Connection) -> list[int]:
    return [row[0] for row in connection.execute("select n from orders order by n")]


def test_a_committed_job_exists_as_it_was_asked(run: Any, business: psycopg.Connection) -> None:
    async def scenario(host: Host) -> Enqueued:
        await host.execute("insert into orders values (1)")
        enqueued = await enqueue(host)
        assert count(business) == 0
        await host.commit()
        return enqueued

    enqueued = run(scenario)
    assert enqueued.created is True
    assert row_of(business, enqueued.id) == STORED
    assert orders(business) == [1]


def test_a_rolled_back_job_never_existed(run: Any, business: psycopg.Connection) -> None:
    async def scenario(host: Host) -> None:
        await host.execute("insert into orders values (1)")
        await enqueue(host)
        await host.rollback()

    run(scenario)
    assert (count(business), orders(business)) == (0, [])


def test_an_enqueue_before_any_other_statement_is_rolled_back_too(
    run: Any, connection: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        await enqueue(host)
        await host.rollback()
        await host.commit()

    run(scenario)
    assert count(connection) == 0


def test_an_exception_after_the_enqueue_leaves_nothing(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        await host.execute("insert into orders values (1)")
        await enqueue(host)
        raise LookupError("of the caller")

    with pytest.raises(LookupError):
        run(scenario)
    assert (count(business), orders(business)) == (0, [])


def test_a_savepoint_takes_its_job_with_it(run: Any, business: psycopg.Connection) -> None:
    async def undone(host: Host) -> None:
        async with host.savepoint():
            await host.execute("insert into orders values (2)")
            await enqueue(host)
            raise LookupError("of the caller")

    async def scenario(host: Host) -> Enqueued:
        await host.execute("insert into orders values (1)")
        kept = await enqueue(host)
        with pytest.raises(LookupError):
            await undone(host)
        async with host.savepoint():
            await host.execute("insert into orders values (3)")
        await host.commit()
        return kept

    kept = run(scenario)
    assert orders(business) == [1, 3]
    assert count(business) == 1
    assert row_of(business, kept.id) == STORED


def test_a_failed_statement_of_the_caller_takes_the_job_with_it(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        await enqueue(host)
        with pytest.raises(Exception, match="does not exist"):
            await host.execute("select * from nowhere")
        await host.rollback()

    run(scenario)
    assert count(business) == 0


def test_many_jobs_are_one_statement_of_the_transaction(
    run: Any, connection: psycopg.Connection
) -> None:
    jobs = [NewJob(task="t", args={"n": n}) for n in range(100)]
    ((document, _),) = contract.encode_many(jobs, limit=LIMIT)

    async def scenario(host: Host) -> list[Enqueued]:
        await host.enqueue(document)
        await host.rollback()
        answers = contract.decode_many(await host.enqueue(document))
        await host.commit()
        return answers

    answers = run(scenario)
    assert [row_of(connection, answer.id)["args"]["n"] for answer in answers] == [*range(100)]
    assert count(connection) == 100


def test_the_transaction_is_as_it_was_after_a_second_job_with_the_key(
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> list[Enqueued]:
        answers = [await enqueue(host, NewJob(task="t", key="k")) for _ in range(2)]
        await host.execute("insert into orders values (1)")
        await host.commit()
        return answers

    first, second = run(scenario)
    assert second == Enqueued(first.id, created=False)
    assert orders(business) == [1]


def test_no_setting_of_the_transaction_is_changed(run: Any, business: psycopg.Connection) -> None:
    business.execute("create table settings (name text, value text)")
    note = "insert into settings select name, setting from pg_settings where source = 'session'"

    async def scenario(host: Host) -> None:
        await host.execute("set local statement_timeout = 12345")
        await host.execute(note)
        await enqueue(host)
        await host.execute(note)
        await host.commit()

    run(scenario)
    changed = "select name, value from settings group by 1, 2 having count(*) <> 2"
    assert business.execute(changed).fetchall() == []
    assert count(business) == 1


# What goes wrong


def refused(run: Any, kind: type[Exception], *statements: str, document: str = "{}") -> Exception:
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
    error = refused(run, TransactionUnusable, "select * from nowhere", document='{"task": "t"}')
    assert "roll back" in str(error)


def test_a_read_only_transaction_is_refused(run: Any) -> None:
    error = refused(run, TransactionUnusable, "set transaction read only", document='{"task": "t"}')
    assert "read-only" in str(error)
    assert error.__cause__ is not None


def test_what_only_the_database_can_refuse_is_an_invalid_job(run: Any) -> None:
    document = json.dumps({"task": "t", "expires_at": "2020-01-01T00:00:00Z"})
    error = refused(run, InvalidJob, document=document)
    assert str(error).startswith('expires_at: "2020-01-01T00:00:00Z" is refused; expected a time')
    assert "\n" not in str(error)
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    "damage",
    [
        "drop schema pgqueue cascade",
        "drop function pgqueue.enqueue(text)",
        "drop table pgqueue.jobs cascade",
        "alter table pgqueue.jobs drop column meta cascade",
    ],
)
def test_a_schema_that_is_missing_or_behind_says_what_to_run(
    run: Any, connection: psycopg.Connection, damage: str
) -> None:
    connection.execute(damage.encode())
    error = refused(run, SchemaError, document='{"task": "t"}')
    assert "run `pgqueue migrate`" in str(error)
    assert error.__cause__ is not None


def test_a_role_without_rights_is_told_so(run: Any, connection: psycopg.Connection) -> None:
    connection.execute("grant usage on schema pgqueue to pg_monitor")
    error = refused(run, EnqueueError, "set local role pg_monitor", document='{"task": "t"}')
    assert type(error) is EnqueueError
    assert "permission denied for function enqueue" in str(error)


def test_the_caller_s_own_timeout_is_its_own_error(
    run: Any, connection: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> Exception:
        await host.execute("set local lock_timeout = '20ms'")
        with pytest.raises(Exception, match="lock timeout") as raised:
            await host.enqueue('{"task": "t"}')
        await host.rollback()
        return raised.value

    with connection.transaction():
        connection.execute("lock pgqueue.jobs in access exclusive mode")
        error = run(scenario)
    assert not isinstance(error, EnqueueError)
