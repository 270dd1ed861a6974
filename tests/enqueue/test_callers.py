"""Every caller's transaction decides: committed means enqueued, rolled back means never existed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.enqueue import contract
from pgqueue.job import Enqueued, NewJob
from tests.enqueue.sql import EMPTY, count, row_of

if TYPE_CHECKING:
    import psycopg

    from tests.enqueue.hosts import Host

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
    run: Any, business: psycopg.Connection
) -> None:
    async def scenario(host: Host) -> None:
        await enqueue(host)
        await host.rollback()
        await host.commit()

    run(scenario)
    assert count(business) == 0


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
    run: Any, business: psycopg.Connection
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
    assert [row_of(business, answer.id)["args"]["n"] for answer in answers] == [*range(100)]
    assert count(business) == 100


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
    business.execute("create table if not exists settings (name text, value text)")
    business.execute("delete from settings")
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
