"""The sweep removes keys that nobody holds, part by part, and never one that is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import store
from pgqueue.worker.steps import keys
from pgqueue.worker.steps.keys import NAME, SweepKeys
from tests.enqueue.sql import enqueue
from tests.store.tables import SETTINGS, Background, Tables

if TYPE_CHECKING:
    from pgqueue.connections import Connection

FINISH = "update pgqueue.jobs set state = 'dead', lease = lease + 1"
OVER = "update pgqueue.idempotency_keys set expires_at = clock_timestamp() - interval '1 s'"


@pytest.fixture(autouse=True)
def _known(own: Connection) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [NAME]})


def sweep(connection: Connection, tables: Tables) -> None:
    """A turn of the step, whenever the last one was."""
    tables.run("update pgqueue.steps set ran_at = '2001-01-01' where name = %s", NAME)
    SweepKeys(SETTINGS)(connection)


def left(tables: Tables) -> list[str]:
    return [key for (key,) in tables.run("select key from pgqueue.idempotency_keys order by key")]


def keyed(tables: Tables, key: str, **terms: Any) -> int:
    return int(enqueue(tables.connection, {"task": "t", "key": key, **terms})["id"])


def test_what_is_held_stays_and_the_rest_goes(own: Connection, tables: Tables) -> None:
    gone = [keyed(tables, "gone, window open", unique_for=60), keyed(tables, "gone")]
    keyed(tables, "dead")
    keyed(tables, "dead, window open", unique_for=60)
    keyed(tables, "both, window open", unique_for=60, until="finished")
    tables.run(FINISH)
    tables.run("delete from pgqueue.jobs where id = any (%s)", gone)
    keyed(tables, "over", unique_for=60)
    keyed(tables, "both over", unique_for=60, until="started")
    tables.run(OVER + " where key like '%%over'")
    keyed(tables, "waiting")
    keyed(tables, "waiting, until started", until="started")
    sweep(own, tables)
    assert left(tables) == [
        "dead, window open",
        "gone, window open",
        "waiting",
        "waiting, until started",
    ]


def test_a_key_until_started_goes_when_its_job_has_started(own: Connection, tables: Tables) -> None:
    keyed(tables, "a", until="started")
    keyed(tables, "b")
    tables.run("update pgqueue.jobs set state = 'running', attempt = 1, lease = 1, worker_id = 1")
    sweep(own, tables)
    assert left(tables) == ["b"]


def test_it_goes_on_where_it_stopped_and_starts_again_at_the_end(
    own: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PART", 2)
    monkeypatch.setattr(keys, "PARTS", 1)
    for key in "abcde":
        keyed(tables, key)
    tables.run(FINISH)
    found = []
    for _ in range(3):
        sweep(own, tables)
        found.append("".join(left(tables)))
    assert found == ["cde", "e", ""]
    keyed(tables, "a")
    tables.run(FINISH)
    sweep(own, tables)
    assert left(tables) == []


def test_it_goes_on_within_a_turn_while_that_is_worth_it(
    own: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PART", 4)
    for key in "abcdefgh":
        keyed(tables, key)
    tables.run(FINISH)
    for key in "ijklmnop":
        keyed(tables, key)
    sweep(own, tables)
    assert left(tables) == [*"ijklmnop"]
    assert tables.run("select place ->> 'key' from pgqueue.steps") == [("l",)]


def test_it_waits_for_nobody_and_nobody_s_key_is_lost(
    own: Connection, other: Connection, tables: Tables
) -> None:
    keyed(tables, "k")
    tables.run(FINISH)
    with other.transaction():
        taken = enqueue(other, {"task": "t", "key": "k"})
        sweep(own, tables)
    assert tables.run("select job_id from pgqueue.idempotency_keys") == [(taken["id"],)]


def test_a_key_taken_over_between_its_two_statements_stays(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """Its snapshot is older than the job that holds the key by the time the key is locked."""
    keyed(tables, "k")
    tables.run(FINISH)
    with own.transaction():
        [found] = store.run(own, SETTINGS, "keys_lock", {"name": NAME, "size": 10})
        assert found[1] == ["k"]
    taken = enqueue(other, {"task": "t", "key": "k"})
    values = {"name": NAME, "scopes": found[0], "keys": found[1], "place": None}
    assert store.run(own, SETTINGS, "keys_delete", values) == [(0,)]
    assert tables.run("select job_id from pgqueue.idempotency_keys") == [(taken["id"],)]


def test_an_enqueue_waits_for_a_key_that_is_being_swept_and_takes_it(
    own: Connection, other: Connection, tables: Tables
) -> None:
    keyed(tables, "k")
    tables.run(FINISH)
    with own.transaction():
        [found] = store.run(own, SETTINGS, "keys_lock", {"name": NAME, "size": 10})
        values = {"name": NAME, "scopes": found[0], "keys": found[1], "place": None}
        store.run(own, SETTINGS, "keys_delete", values)
        answer = Background(lambda: enqueue(other, {"task": "t", "key": "k"}))
        tables.wait_for_lock("the key")
    assert answer.result()["created"] is True
    assert left(tables) == ["k"]


def test_two_sweeps_at_once_do_not_meet(own: Connection, other: Connection, tables: Tables) -> None:
    keyed(tables, "k")
    tables.run(FINISH)
    with own.transaction():
        part = {"name": NAME, "size": 10}
        assert store.run(own, SETTINGS, "keys_lock", part)[0][1] == ["k"]
        assert store.run(other, SETTINGS, "keys_lock", part)[0][1] == []
