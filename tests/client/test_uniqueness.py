"""Keys from Python: what a handle says, and AlreadyEnqueued, which spoils no transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import AlreadyEnqueued, InvalidJob, NewJob, PgQueue, from_args
from tests.enqueue.sql import count

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def caller(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """In a transaction, as soon as it is used."""
    with psycopg.connect(dsn) as connected:
        yield connected


def greet(name: str, mood: str = "good") -> None:
    """A task."""


def test_a_handle_says_what_was_done(app: PgQueue, connection: psycopg.Connection[Any]) -> None:
    task = app.task(name="greet")(greet)
    made = task.using(key="k").enqueue("a")
    same = task.using(key="k").enqueue("b")
    replaced = task.using(key="k", on_conflict="replace").enqueue("c")
    later = task.using(key="k", on_conflict="reschedule", delay=60).enqueue("d")
    handles = [made, same, replaced, later]
    assert {handle.id for handle in handles} == {made.id}
    assert [handle.created for handle in handles] == [True, False, False, False]
    assert [handle.changed for handle in handles] == [None, None, "replaced", "rescheduled"]
    row = connection.execute("select args, run_at > created_at from pgqueue.jobs").fetchone()
    assert row == ({"name": "d"}, True)


def test_already_enqueued_names_the_holder_and_the_transaction_goes_on(
    app: PgQueue, caller: psycopg.Connection[Any], connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="greet")(greet)
    held = task.using(key="k").enqueue("a")
    task.using(caller).enqueue("mine")
    with pytest.raises(AlreadyEnqueued) as refusal:
        task.using(caller, key="k", on_conflict="raise").enqueue("b")
    assert refusal.value.id == held.id
    assert str(refusal.value) == (
        f"job {held.id} holds the key 'k' in scope 'greet': nothing was enqueued"
    )
    caller.commit()
    assert count(connection) == 2


def test_already_enqueued_in_async_code(app: PgQueue) -> None:
    task = app.task(name="greet")(greet)
    strict = task.using(key=from_args("name"), on_conflict="raise")
    asyncio.run(strict.aenqueue("a"))
    with pytest.raises(AlreadyEnqueued, match=r"key from_args\('name',\) in scope 'greet'"):
        asyncio.run(strict.aenqueue("a"))


def strict_jobs(count: int) -> list[NewJob]:
    return [NewJob(task="t", key=f"k{n % 3}", on_conflict="raise") for n in range(count)]


def test_many_with_a_duplicate_that_raises_leave_nothing_on_a_connection_of_our_own(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    assert len(app.enqueue_many(strict_jobs(3))) == 3
    connection.execute("delete from pgqueue.jobs")
    jobs = [NewJob(task="t"), *strict_jobs(4)]
    with pytest.raises(AlreadyEnqueued, match=r"^\[4\]: job \d+ holds the key 'k0' in scope 't'"):
        app.enqueue_many(jobs)
    assert count(connection) == 0


def test_many_with_a_duplicate_that_raises_leave_the_caller_to_decide(
    app: PgQueue, caller: psycopg.Connection[Any], connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(AlreadyEnqueued):
        app.using(caller).enqueue_many(strict_jobs(4))
    assert caller.execute("select count(*) from pgqueue.jobs").fetchone() == (3,)
    caller.rollback()
    assert count(connection) == 0


def test_a_document_that_says_raise_is_the_same_error(app: PgQueue) -> None:
    document = '{"task": "t", "key": "k", "on_conflict": "raise"}'
    app.producer(None).send([document])
    with pytest.raises(AlreadyEnqueued) as refusal:
        app.producer(None).send([document])
    assert f"job {refusal.value.id} holds" in str(refusal.value)


def test_a_key_can_be_made_of_arguments(app: PgQueue) -> None:
    task = app.task(name="greet")(greet)
    by_name = task.using(key=from_args("name"))
    first = by_name.enqueue("a")
    assert by_name.enqueue("a", mood="bad") == first
    assert by_name.enqueue("b") != first
    of_all = task.using(key=from_args())
    assert of_all.enqueue("a") == first  # of this call that is the name alone
    assert of_all.enqueue("a", mood="bad").created is True


def test_options_that_need_a_key_are_refused_without_one(app: PgQueue) -> None:
    task = app.task(name="greet")(greet)
    options: list[dict[str, Any]] = [{"until": "started"}, {"on_conflict": "raise"}]
    for option in options:
        with pytest.raises(InvalidJob, match="expected a key besides"):
            task.using(**option).enqueue("a")
