"""Limits of queues from Python: set, read, refused, waited for."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import InvalidJob, InvalidName, NewJob, PgQueue, QueueFull, QueueLimit, room, store
from tests.enqueue.sql import count
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


def work() -> None:
    """A task."""


def fill(app: PgQueue, connection: psycopg.Connection[Any], *, full: bool = True) -> None:
    """Let the default queue be full, or not, as the last count would have it."""
    app.set_queue("default", max_depth=10)
    depth = 10 if full else 3
    connection.execute("update pgqueue.queues set depth = %s, is_full = %s", [depth, full])


def test_a_limit_is_set_read_and_taken_away(app: PgQueue) -> None:
    assert app.set_queue("mail", max_depth=5) == QueueLimit("mail", 5, 0, False, None)
    app.set_queue("mail", max_depth=7)
    app.set_queue("default", max_depth=None)
    assert [(each.queue, each.max_depth) for each in app.queues.all()] == [
        ("default", None),
        ("mail", 7),
    ]


@pytest.mark.parametrize("max_depth", [0, -1, 10_000_001, 1.5, "5", True])
def test_a_limit_out_of_range_is_refused(app: PgQueue, max_depth: Any) -> None:
    with pytest.raises(InvalidJob, match=r"^max_depth: .* is refused; expected an integer"):
        app.set_queue("mail", max_depth=max_depth)
    assert app.queues.all() == []


def test_the_name_of_a_queue_is_checked(app: PgQueue) -> None:
    with pytest.raises(InvalidName):
        app.set_queue("a b", max_depth=5)
    with pytest.raises(InvalidName):
        app.wait_for_room("a b")


def test_a_full_queue_refuses_with_its_name(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    fill(app, connection)
    with pytest.raises(QueueFull, match="max_depth is 10; try again later") as refusal:
        app.task(name="work")(work).enqueue()
    assert refusal.value.queue == "default"
    with pytest.raises(QueueFull):
        app.enqueue_many([NewJob(task="t", queue="else"), NewJob(task="t")])
    assert count(connection) == 0


def test_status_shows_the_limit(app: PgQueue, connection: psycopg.Connection[Any]) -> None:
    fill(app, connection)
    app.set_queue("unlimited", max_depth=None)
    [queue] = app.inspector.status().queues
    assert (queue.queue, queue.max_depth, queue.is_full) == ("default", 10, True)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The looks for room that were made."""
    made: list[str] = []
    execute = store.execute

    def noted(own: Any, name: str, values: Any) -> Any:
        made.append(name)
        return execute(own, name, values)

    monkeypatch.setattr(store, "execute", noted)
    monkeypatch.setattr(room, "PAUSE", 0.01)
    return made


def test_who_is_patient_waits_for_room_and_enqueues_then(
    app: PgQueue, connection: psycopg.Connection[Any], looks: list[str]
) -> None:
    fill(app, connection)
    made = []
    patient = app.using(wait_when_full=timedelta(seconds=30))
    thread = threading.Thread(
        target=lambda: made.extend(patient.enqueue_many(NewJob(task="t") for _ in range(3)))
    )
    thread.start()
    wait_until(lambda: len(looks) > 1, what="two looks for room")
    assert count(connection) == 0
    fill(app, connection, full=False)
    thread.join(10)
    assert len(made) == count(connection) == 3


def test_patience_ends(app: PgQueue, connection: psycopg.Connection[Any], looks: list[str]) -> None:
    fill(app, connection)
    task = app.task(name="work")(work)
    with pytest.raises(QueueFull, match="; waited for") as refusal:
        task.using(wait_when_full=0.02).enqueue()
    assert refusal.value.queue == "default"
    assert looks


def test_a_queue_that_fills_in_the_midst_of_a_long_call_undoes_it_all(
    app: PgQueue, connection: psycopg.Connection[Any], looks: list[str]
) -> None:
    def jobs() -> Iterator[NewJob]:
        for n in range(10_002):
            if n == 10_001:
                fill(app, connection)
            yield NewJob(task="t")

    with pytest.raises(QueueFull, match="try again later"):
        app.using(wait_when_full=30).enqueue_many(jobs())
    assert count(connection) == 0
    assert "queue_full" not in looks


def test_waiting_before_a_transaction_of_the_caller_s_own(
    app: PgQueue, connection: psycopg.Connection[Any], looks: list[str]
) -> None:
    app.wait_for_room("default", timeout=0)
    fill(app, connection)
    with pytest.raises(QueueFull):
        asyncio.run(app.await_for_room("default", timeout=0.02))
    fill(app, connection, full=False)
    asyncio.run(app.await_for_room("default", timeout=timedelta(seconds=5)))
    assert looks.count("queue_full") > 2


def test_nobody_waits_inside_of_a_caller_s_transaction(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="work")(work)
    for using in (task.using, app.using):
        with pytest.raises(TypeError, match="outside of any transaction"):
            using(connection, wait_when_full=5)
    with pytest.raises(InvalidJob, match="wait_when_full: 'long' is refused"):
        task.using(wait_when_full="long")  # type: ignore[arg-type]
