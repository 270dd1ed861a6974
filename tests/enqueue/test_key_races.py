"""Two transactions and one key, each order forced: the second waits for the first's end."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel

from pgqueue.enqueue import callers
from tests.enqueue.sql import count, enqueue
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYED = {"task": "t", "key": "k"}


LIMITED = "-c lock_timeout=10s"  # a wait that nobody ends is a failure, not a hang


@pytest.fixture
def first(dsn: str) -> Iterator[psycopg.Connection]:
    """In a transaction, as soon as it is used."""
    with psycopg.connect(dsn, options=LIMITED) as connected:
        yield connected


@pytest.fixture
def second(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, options=LIMITED) as connected:
        yield connected


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """In autocommit."""
    with psycopg.connect(dsn, options=LIMITED, autocommit=True) as connected:
        yield connected


@contextmanager
def waiting(
    connection: psycopg.Connection, document: Any, observer: psycopg.Connection
) -> Iterator[Future[Any]]:
    """An enqueue in a thread of its own that waits for a lock when the block begins."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(enqueue, connection, document)
        wait_until(lambda: waits(connection, observer) or answer.done(), what="the lock")
        assert not answer.done(), answer.result()
        yield answer


def waits(connection: psycopg.Connection, observer: psycopg.Connection) -> bool:
    sql = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    return observer.execute(sql, [connection.info.backend_pid]).fetchone() == (True,)


def finished_holder(connection: psycopg.Connection) -> int:
    """A key whose job is final; returns the job's id."""
    job_id = enqueue(connection, KEYED)["id"]
    connection.execute("update pgqueue.jobs set state = 'dead', lease = lease + 1")
    return int(job_id)


def test_a_rival_that_rolls_back_leaves_the_key_to_us(
    first: psycopg.Connection, second: psycopg.Connection, connection: psycopg.Connection
) -> None:
    lost = enqueue(first, KEYED)
    with waiting(second, KEYED, connection) as answer:
        first.rollback()
        assert answer.result()["created"] is True
        assert answer.result()["id"] != lost["id"]
    second.commit()
    assert count(connection) == 1


@pytest.mark.parametrize("document", [KEYED, [{"task": "t"}, KEYED]])
def test_a_rival_that_commits_keeps_the_key(
    first: psycopg.Connection,
    second: psycopg.Connection,
    connection: psycopg.Connection,
    document: Any,
) -> None:
    held = enqueue(first, KEYED)
    with waiting(second, document, connection) as answer:
        first.commit()
        result = answer.result()
    one = result[-1] if isinstance(result, list) else result
    assert one == {"id": held["id"], "created": False}
    # The transaction was not aborted, and sees what it waited for.
    assert second.execute("select 1").fetchone() == (1,)
    second.commit()


@pytest.mark.parametrize("rival_commits", [True, False])
def test_of_two_that_take_over_at_once_exactly_one_creates(
    first: psycopg.Connection,
    second: psycopg.Connection,
    connection: psycopg.Connection,
    rival_commits: bool,
) -> None:
    finished_holder(connection)
    rival = enqueue(first, KEYED)
    assert rival["created"] is True
    with waiting(second, KEYED, connection) as answer:
        if rival_commits:
            first.commit()
            assert answer.result() == {"id": rival["id"], "created": False}
        else:
            first.rollback()
            assert answer.result()["created"] is True
    second.commit()
    live = "select count(*) from pgqueue.jobs where state = 'ready'"
    assert connection.execute(live).fetchone() == (1,)


def test_a_job_that_a_requeue_brings_back_keeps_its_key(
    first: psycopg.Connection, second: psycopg.Connection, connection: psycopg.Connection
) -> None:
    job_id = finished_holder(connection)
    # As an operator's requeue does: the key's row first, then the job.
    first.execute("select from pgqueue.idempotency_keys for update")
    first.execute("update pgqueue.jobs set state = 'ready', lease = lease + 1")
    with waiting(second, KEYED, connection) as answer:
        first.commit()
        assert answer.result() == {"id": job_id, "created": False}
    second.commit()
    assert count(connection) == 1


def test_a_key_that_is_pruned_meanwhile_is_taken_anew(
    first: psycopg.Connection, second: psycopg.Connection, connection: psycopg.Connection
) -> None:
    finished_holder(connection)
    first.execute("delete from pgqueue.idempotency_keys")
    with waiting(second, KEYED, connection) as answer:
        first.commit()
        assert answer.result()["created"] is True
    second.commit()
    held = "select key.job_id from pgqueue.idempotency_keys as key join pgqueue.jobs as job "
    rows = connection.execute(held + "on job.id = key.job_id where state = 'ready'").fetchall()
    assert rows == [(answer.result()["id"],)]


def test_a_job_waited_for_is_due_when_it_is_inserted(
    first: psycopg.Connection, second: psycopg.Connection, connection: psycopg.Connection
) -> None:
    enqueue(first, KEYED)
    with waiting(second, KEYED, connection) as answer:
        (released,) = connection.execute("select clock_timestamp()").fetchall()
        first.rollback()
        job_id = answer.result()["id"]
    second.commit()
    sql = "select run_at >= %s from pgqueue.jobs where id = %s"
    assert connection.execute(sql, [released[0], job_id]).fetchone() == (True,)


def test_keys_are_taken_in_their_order_whatever_the_order_of_the_jobs(
    first: psycopg.Connection, second: psycopg.Connection, connection: psycopg.Connection
) -> None:
    a, b = {"task": "t", "key": "a"}, {"task": "t", "key": "b"}
    enqueue(first, a)
    with waiting(second, [b, a], connection) as answer:
        # Whoever waits for a does not hold b yet: that order could end in a deadlock.
        assert enqueue(connection, b)["created"] is True
        first.commit()
        assert [one["created"] for one in answer.result()] == [False, False]
    second.commit()


def test_a_savepoint_that_is_rolled_back_frees_the_key_for_its_own_transaction(
    first: psycopg.Connection,
) -> None:
    with first.transaction(force_rollback=True):
        lost = enqueue(first, KEYED)
    again = enqueue(first, KEYED)
    assert again["created"] is True
    assert again["id"] != lost["id"]
    assert enqueue(first, KEYED) == {"id": again["id"], "created": False}


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_above_read_committed_the_caller_meets_its_own_serialization_failure(
    first: psycopg.Connection,
    second: psycopg.Connection,
    connection: psycopg.Connection,
    level: IsolationLevel,
) -> None:
    second.isolation_level = level
    second.execute("select count(*) from pgqueue.jobs")
    enqueue(first, KEYED)
    first.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        callers.send(second, json.dumps(KEYED))
    second.rollback()
    assert enqueue(second, KEYED)["created"] is False
    assert count(connection) == 1
