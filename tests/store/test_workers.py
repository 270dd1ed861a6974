"""Who is alive: beats, burials, silence; and whose turn a step is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import store
from pgqueue.worker.heartbeat import Heartbeat
from tests.store.tables import SETTINGS, Background, Tables, turns

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def beat(connection: Connection, *worker_ids: int) -> list[int]:
    return sorted(id_ for kind, id_, _ in seen(connection, *worker_ids) if kind == "beat")


def seen(connection: Connection, *worker_ids: int) -> list[tuple[Any, ...]]:
    """What a beat for these workers answers."""
    return store.run(connection, SETTINGS, "heartbeat", values(*worker_ids))


def values(*worker_ids: int) -> dict[str, Any]:
    return {"ids": store.array(worker_ids), "queues": ["default"], "most": 8}


def buried(connection: Connection, worker_id: int, *, seen: bool = False) -> bool:
    values = {"worker_id": worker_id, "seen": seen}
    return bool(store.run(connection, SETTINGS, "bury", values))


def silent(connection: Connection) -> list[int]:
    return sorted(id_ for kind, id_, _ in seen(connection) if kind == "silent")


def soonest(connection: Connection) -> float | None:
    """In how many seconds the next worker is silent for too long."""
    [seconds] = [row[2] for row in seen(connection) if row[0] == "next"]
    return None if seconds is None else float(seconds)


def take(connection: Connection, every: float = 60) -> bool:
    return turns(connection, prune=every) == ["prune"]


def test_a_beat_is_confirmed_for_those_who_are_on_the_list(own: Connection, tables: Tables) -> None:
    first, second = tables.worker(silent_for=60), tables.worker(silent_for=60)
    assert beat(own, second, first, 4711) == [first, second]
    assert silent(own) == []
    assert beat(own) == []


def test_a_beat_counts_while_somebody_has_locked_all_jobs(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker(silent_for=10)
    confirmed: list[int] = []
    heartbeat = Heartbeat(
        replace(SETTINGS, lock_timeout=0.05),
        lambda: [worker],
        lambda ids, _: confirmed.extend(ids),
        confirmed.extend,
        lambda seen: confirmed.extend(seen.silent),
    )
    with other.transaction():
        other.execute("lock table pgqueue.jobs in access exclusive mode")
        heartbeat(own)
    assert confirmed == [worker]
    # Ten seconds ago it would have been for two.
    assert (soonest(own) or 0) > 5


def test_who_beats_too_late_is_silent(own: Connection, tables: Tables) -> None:
    tables.worker(silent_for=11)
    late = tables.worker(silent_for=13)
    assert silent(own) == [late]


def test_it_is_known_when_the_next_worker_would_be_silent(own: Connection, tables: Tables) -> None:
    assert soonest(own) is None
    tables.worker(silent_for=13)
    assert soonest(own) is None
    tables.worker(silent_for=1)
    tables.worker(silent_for=10)
    assert 1 < (soonest(own) or 0) <= 2


def test_who_holds_jobs_without_being_on_the_list_is_silent(
    own: Connection, tables: Tables
) -> None:
    alive = tables.worker()
    for worker_id in (alive, alive, 4711, 4711, 4712):
        tables.job("running", worker_id=worker_id)
    tables.job("succeeded", worker_id=4713)
    assert silent(own) == [4711, 4712]


def test_a_beat_never_tells_of_those_it_is_for(own: Connection, tables: Tables) -> None:
    """After an outage all are late; the beat that says so is the one that ends it."""
    first, second = tables.worker(silent_for=60), tables.worker(silent_for=60)
    kinds = sorted((kind, id_) for kind, id_, _ in seen(own, first) if kind != "suspects")
    assert kinds == [("beat", first), ("next", None), ("silent", second)]


def test_a_beat_counts_the_suspects_of_its_queues(own: Connection, tables: Tables) -> None:
    for queue in ("default", "default", "other"):
        tables.job(suspect=True, queue=queue)
    tables.job()
    tables.job(suspect=True, due_for=-60)
    assert [number for kind, _, number in seen(own) if kind == "suspects"] == [2]


def test_by_age_only_the_silent_are_buried_and_once(own: Connection, tables: Tables) -> None:
    alive, late = tables.worker(), tables.worker(silent_for=13)
    assert not buried(own, alive)
    assert buried(own, late)
    assert not buried(own, late)
    assert beat(own, alive, late) == [alive]


def test_who_was_seen_to_die_is_buried_whatever_its_last_beat(
    own: Connection, tables: Tables
) -> None:
    assert buried(own, tables.worker(), seen=True)


def test_a_beat_that_comes_first_saves_the_worker(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """The burial waits for the beat's commit, and then looks at the clock again."""
    worker = tables.worker(silent_for=60)
    with own.transaction():
        store.execute(own, "heartbeat", values(worker))
        burial = Background(lambda: buried(other, worker))
        tables.wait_for_lock("the burial")
    assert burial.result() is False
    assert beat(own, worker) == [worker]


def test_a_burial_that_comes_first_is_final(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker(silent_for=60)
    with own.transaction():
        values = {"worker_id": worker, "seen": False}
        assert store.execute(own, "bury", values).fetchall()
        late = Background(lambda: beat(other, worker))
        tables.wait_for_lock("the beat")
    assert late.result() == []


def test_beats_lock_the_workers_in_the_order_of_their_ids(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """In any other order two supervisors that bury and beat could wait for each other."""
    first, second, third = (tables.worker() for _ in range(3))
    free = "select id from pgqueue.workers where id <> %s for no key update skip locked"
    with other.transaction():
        other.execute("select from pgqueue.workers where id = %s for update", [second])
        late = Background(lambda: beat(own, third, second, first))
        tables.wait_for_lock("the beat")
        assert tables.run(free, second) == [(third,)]
    assert late.result() == [first, second, third]


def test_two_burials_at_once_bury_once(own: Connection, other: Connection, tables: Tables) -> None:
    worker = tables.worker(silent_for=60)
    with own.transaction():
        values = {"worker_id": worker, "seen": True}
        assert store.execute(own, "bury", values).fetchall()
        second = Background(lambda: buried(other, worker, seen=True))
        tables.wait_for_lock("the second burial")
    assert second.result() is False


def test_the_buried_and_the_gone_sleep_no_more(own: Connection, tables: Tables) -> None:
    leaving, dying, staying = (tables.worker() for _ in range(3))
    for worker_id in (leaving, dying, staying):
        values = {"worker_id": worker_id, "queues": ["a", "b"]}
        store.run(own, SETTINGS, "sleep", values)
        store.run(own, SETTINGS, "sleep", values)
    store.run(own, SETTINGS, "leave", {"worker_id": leaving})
    buried(own, dying, seen=True)
    assert tables.run("select queue, worker_id from pgqueue.sleepers order by queue") == [
        ("a", staying),
        ("b", staying),
    ]
    store.run(own, SETTINGS, "awake", {"worker_id": staying})
    assert tables.run("select count(*) from pgqueue.sleepers") == [(0,)]
    assert tables.run("select id from pgqueue.workers") == [(staying,)]


def test_a_buried_worker_cannot_fall_asleep(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    buried(own, worker, seen=True)
    store.run(own, SETTINGS, "sleep", {"worker_id": worker, "queues": ["a"]})
    assert tables.run("select count(*) from pgqueue.sleepers") == [(0,)]


def test_a_step_is_one_workers_turn_until_it_is_due_again(
    own: Connection, other: Connection, tables: Tables
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["prune", "dead"]})
    store.run(other, SETTINGS, "add_steps", {"names": ["prune", "dead"]})
    assert [take(own), take(other), take(own)] == [True, False, False]
    tables.run("update pgqueue.steps set ran_at = ran_at - interval '61 s' where name = 'prune'")
    assert [take(other), take(own)] == [True, False]
    assert [take(own, every=0), take(other, every=0)] == [True, True]


def test_of_two_that_ask_at_once_one_gets_the_turn_and_nobody_waits(
    own: Connection, other: Connection
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["prune"]})
    with own.transaction():
        own.execute("update pgqueue.steps set ran_at = clock_timestamp()")
        assert not take(other)
    assert not take(other)


def test_turns_are_asked_for_together_and_each_is_one_workers(
    own: Connection, other: Connection
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["prune", "dead"]})
    with other.transaction():
        other.execute("select from pgqueue.steps where name = 'dead' for update")
        assert turns(own, prune=60, dead=60) == ["prune"]
    assert turns(own, prune=60, dead=60) == ["dead"]
    assert turns(own, prune=60, dead=60) == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("keys", "idempotency_keys (scope, key, job_id) values ('s', 'k', 1)"),
        ("effects", "effects (scope, key, job_id, lease) values ('s', 'k', 1, 1)"),
        ("effects", "checkpoints (job_id, name, lease, result) values (1, 'n', 1, 'null')"),
        ("leftovers", "waiters (id, expires_at) values (1, now())"),
        ("leftovers", "progress (job_id, lease, sequence, done) values (1, 1, 1, 0)"),
    ],
)
def test_a_sweep_is_nobodys_turn_while_its_tables_are_empty(
    own: Connection, tables: Tables, name: str, row: str
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [name]})
    assert turns(own, **{name: 0}) == []
    tables.run(f"insert into pgqueue.{row}")
    assert turns(own, **{name: 0}) == [name]


def test_a_turn_taken_by_a_clock_that_was_ahead_does_not_stop_the_step(
    own: Connection, tables: Tables
) -> None:
    """After a failover to a server whose clock is an hour behind."""
    store.run(own, SETTINGS, "add_steps", {"names": ["prune"]})
    tables.run("update pgqueue.steps set ran_at = clock_timestamp() + interval '1 hour'")
    assert take(own)
    assert not take(own)


def test_a_worker_that_starts_waits_for_no_turn(own: Connection, other: Connection) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["prune", "dead"]})
    with other.transaction():
        other.execute("update pgqueue.steps set ran_at = clock_timestamp()")
        own.execute("set lock_timeout = '1ms'")
        store.execute(own, "add_steps", {"names": ["prune", "keys", "dead"]})
    assert turns(own, prune=0, dead=0) == ["dead", "prune"]


def test_a_step_that_nobody_made_known_is_nobodys_turn(own: Connection) -> None:
    assert not take(own)


def test_reconcile_names_what_a_worker_runs_and_what_it_should_end(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    plain = tables.job("running", worker_id=worker, lease=3)
    asked = tables.job("running", worker_id=worker, lease=5, cancel_requested_at="now")
    tables.job("running", worker_id=tables.worker())
    tables.job("dead", worker_id=worker)
    rows = store.run(own, SETTINGS, "reconcile", {"worker_id": worker})
    assert sorted(rows) == [(plain, 3, False), (asked, 5, True)]
