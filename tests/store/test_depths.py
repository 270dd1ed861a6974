"""How deep queues with a limit are, counted by workers; what enqueue makes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.steps.depths import EVERY, CountDepths
from tests.enqueue.sql import count, enqueue
from tests.sleeping import fall_asleep
from tests.store.tables import SETTINGS, Tables, claim, probe, turns

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def limit(connection: Connection, queue: str, max_depth: int | None) -> None:
    store.run(connection, SETTINGS, "queue_set", {"name": queue, "max_depth": max_depth})


def counted(connection: Connection) -> dict[str, tuple[int, bool]]:
    """Depth and fullness by queue, counted now; the lanes are those of now as well."""
    probe(connection)
    rows = store.run(connection, SETTINGS, "count_depths")
    return {queue: (depth, is_full) for queue, depth, _, is_full, _ in rows}


def fill(connection: Connection, queue: str, max_depth: int = 2) -> None:
    """A queue that is full."""
    limit(connection, queue, max_depth)
    enqueue(connection, [{"task": "t", "queue": queue}] * max_depth)
    assert counted(connection)[queue] == (max_depth, True)


def test_due_jobs_of_all_lanes_are_counted_and_no_others(own: Connection, tables: Tables) -> None:
    limit(own, "default", 100)
    for priority in (-1, 0, 5):
        tables.job(priority=priority)
    tables.job(queue="other")
    tables.job(due_for=-60)
    tables.job("running", worker_id=1)
    tables.job("dead")
    assert counted(own) == {"default": (3, False)}


def test_counting_stops_just_above_the_limit(own: Connection, tables: Tables) -> None:
    limit(own, "default", 3)
    tables.jobs(5)
    tables.jobs(5, priority=1)
    assert counted(own) == {"default": (4, True)}


def test_queues_without_a_limit_are_not_counted(own: Connection, tables: Tables) -> None:
    tables.job()
    limit(own, "default", None)
    assert counted(own) == {}
    assert tables.run("select depth, is_full, counted_at from pgqueue.queues") == [(0, False, None)]


def test_a_full_queue_has_room_again_at_four_fifths(own: Connection, tables: Tables) -> None:
    worker_id = tables.worker()
    fill(own, "default", 10)
    seen = []
    for _ in range(3):
        claim(own, worker_id, room=1)
        seen.append(counted(own)["default"])
    assert seen == [(9, True), (8, False), (7, False)]
    tables.job()
    assert counted(own)["default"] == (8, False)


def test_a_new_limit_holds_at_once_for_what_was_counted(own: Connection, tables: Tables) -> None:
    fill(own, "default", 4)
    for max_depth, is_full in ((5, False), (3, True), (None, False)):
        limit(own, "default", max_depth)
        assert tables.run("select is_full from pgqueue.queues") == [(is_full,)]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("delay", [0, 60])
def test_a_full_queue_takes_no_job(own: Connection, many: bool, delay: int) -> None:
    fill(own, "mail")
    before = count(own)
    job = {"task": "t", "queue": "mail", "delay": delay}
    with pytest.raises(psycopg.Error) as refusal:
        enqueue(own, [{"task": "t"}, job] if many else job)
    assert refusal.value.sqlstate == "PQ003"
    assert refusal.value.diag.message_primary == (
        'queue "mail" is full: 2 due jobs wait in it, its max_depth is 2; try again later'
    )
    assert count(own) == before
    assert enqueue(own, {"task": "t"})["created"] is True
    assert enqueue(own, [{"task": "t", "queue": "else"}])[0]["created"] is True


@pytest.mark.parametrize("many", [False, True])
def test_in_a_full_queue_a_key_still_answers_with_its_job(own: Connection, many: bool) -> None:
    job = {"task": "t", "queue": "mail", "key": "k", "on_conflict": "replace"}
    held = enqueue(own, job)
    limit(own, "mail", 1)
    assert counted(own)["mail"] == (1, True)
    answer = enqueue(own, [job] if many else job)
    assert (answer[0] if many else answer)["id"] == held["id"]


def test_a_refused_job_leaves_its_key_free(own: Connection, tables: Tables) -> None:
    fill(own, "mail")
    with pytest.raises(psycopg.Error):
        enqueue(own, {"task": "t", "queue": "mail", "key": "k"})
    assert tables.run("select from pgqueue.idempotency_keys") == []


def test_a_queue_with_a_limit_and_room_wakes_its_workers(own: Connection) -> None:
    limit(own, "default", 5)
    fall_asleep(own, "default", 1)
    own.execute('listen "pgqueue.default"')
    enqueue(own, {"task": "t"})
    assert [told.payload for told in own.notifies(timeout=0)] == ["0"]


def test_retry_rescue_and_requeue_are_never_refused(own: Connection, tables: Tables) -> None:
    dead = tables.job("dead")
    fill(own, "default")
    store.run(own, SETTINGS, "operator_requeue", {"ids": [dead], "actor": None, "spread": 0})
    assert tables.row(dead)["state"] == "ready"


def test_the_step_tells_what_changed(own: Connection, tables: Tables) -> None:
    told: list[Event] = []
    step = CountDepths(SETTINGS, Events(told.append))
    limit(own, "default", 1)
    step(own)
    assert told == []
    tables.job()
    probe(own)
    assert step(own) == EVERY
    assert told == [events.QueueFilled("default", 1, 1)]
    tables.run("update pgqueue.jobs set state = 'dead', lease = 1")
    step(own)
    assert told[1:] == [events.QueueDrained("default", 0, 1)]


def test_it_is_nobodys_turn_to_count_while_no_queue_has_a_limit(own: Connection) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["depths"]})
    assert turns(own, depths=0) == []
    limit(own, "default", 1)
    assert turns(own, depths=0) == ["depths"]


def test_the_count_walks_the_claim_s_index(own: Connection, tables: Tables) -> None:
    tables.run(
        "insert into pgqueue.jobs (task, run_at) "
        "select 't', now() - interval '1 hour' from generate_series(1, 20000)"
    )
    tables.run("analyze pgqueue.jobs")
    limit(own, "default", 100)
    probe(own)
    plan: Any = own.execute(b"explain (format text) " + store.statement("count_depths")).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "using jobs_claim" in text
    assert "Seq Scan on jobs" not in text
