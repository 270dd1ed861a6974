"""Whom an enqueue wakes: only who sleeps, once for each lane, and only for what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.enqueue.sql import enqueue
from tests.sleeping import fall_asleep
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def heard(dsn: str) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """A connection that enqueues, and one that listens to the queues default and mail."""
    with (
        psycopg.connect(dsn, autocommit=True) as producer,
        psycopg.connect(dsn, autocommit=True) as listener,
    ):
        for channel in ("pgqueue.default", "pgqueue.mail"):
            listener.execute(f'listen "{channel}"')
        yield producer, listener


def notifications(listener: psycopg.Connection, sender: psycopg.Connection) -> list[Any]:
    """What was notified until now: a last one marks the end."""
    sender.execute("select pg_notify('pgqueue.mail', 'end')")
    got: list[Any] = []

    def ended() -> bool:
        got.extend((note.channel, note.payload) for note in listener.notifies(timeout=0))
        return got[-1:] == [("pgqueue.mail", "end")]

    wait_until(ended, what="the last notification")
    return got[:-1]


Heard = tuple[psycopg.Connection, psycopg.Connection]


def test_nobody_asleep_is_nobody_notified(heard: Heard) -> None:
    producer, listener = heard
    enqueue(producer, {"task": "t"})
    enqueue(producer, [{"task": "t"}])
    assert notifications(listener, producer) == []


@pytest.mark.parametrize("keyed", [False, True])
def test_sleepers_are_notified_of_each_lane_once(heard: Heard, keyed: bool) -> None:
    producer, listener = heard
    fall_asleep(producer, "mail", 1, 2)
    lanes = [("mail", 5), ("mail", -5), ("default", 5), ("mail", 5)]
    batch = [{"task": "t", "queue": queue, "priority": priority} for queue, priority in lanes]
    if keyed:
        batch = [job | {"key": str(place)} for place, job in enumerate(batch)]
    enqueue(producer, batch)
    assert sorted(notifications(listener, producer)) == [
        ("pgqueue.mail", "-5"),
        ("pgqueue.mail", "5"),
    ]


def test_one_job_notifies_its_own_lane(heard: Heard) -> None:
    producer, listener = heard
    fall_asleep(producer, "mail", 1)
    enqueue(producer, {"task": "t", "queue": "mail", "priority": 7})
    enqueue(producer, {"task": "t", "queue": "default"})
    assert notifications(listener, producer) == [("pgqueue.mail", "7")]


def test_jobs_that_are_not_due_notify_nobody(heard: Heard) -> None:
    producer, listener = heard
    fall_asleep(producer, "default", 1)
    enqueue(producer, {"task": "t", "delay": 60})
    enqueue(producer, [{"task": "t", "delay": 60}])
    assert notifications(listener, producer) == []


def test_a_job_that_existed_notifies_nobody(heard: Heard) -> None:
    producer, listener = heard
    enqueue(producer, {"task": "t", "key": "k"})
    fall_asleep(producer, "default", 1)
    assert enqueue(producer, {"task": "t", "key": "k"})["created"] is False
    assert notifications(listener, producer) == []
