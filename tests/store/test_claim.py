"""What a claim returns, in which order, and what it leaves alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pgqueue import store
from pgqueue.store import LaneClaim
from pgqueue.wire import Wire
from tests.store.tables import SETTINGS, Tables, claim, exchange, ids, lane
from tests.waiting import wait_until

if TYPE_CHECKING:
    import psycopg

    from pgqueue.connections import Connection


def test_a_claimed_job_is_running_under_a_new_lease(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    job_id = tables.job(
        lease=4, attempt=1, timeout=1.5, args='{"a": [1]}', meta='{"m": 1}', suspect=True
    )
    [job] = claim(own, worker)
    assert (job.id, job.lease, job.attempt, job.max_attempts) == (job_id, 5, 2, 8)
    assert (job.queue, job.task, job.priority, job.version) == ("default", "t", 0, 1)
    assert (job.timeout, job.crash_count, job.suspect, job.expired) == (1.5, 0, True, False)
    assert (job.args, job.meta) == ('{"a": [1]}', '{"m": 1}')
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["attempt"]) == ("running", 5, 2)
    assert row["worker_id"] == worker
    assert row["started_at"] is not None


def test_due_jobs_come_in_the_order_of_their_time_and_then_of_their_id(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    young = tables.job(due_for=5)
    first, second = tables.jobs(2, due_for=10)
    old = tables.job(due_for=20)
    got = [ids(claim(own, worker, lane(cap=1))) for _ in range(4)]
    assert got == [[old], [first], [second], [young]]


def test_future_jobs_wait_and_jobs_of_other_states_are_left_alone(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    tables.job(due_for=-60)
    for state in ("blocked", "succeeded", "dead", "cancelled", "expired"):
        tables.job(state)
    tables.job("running", worker_id=worker)
    due = tables.job()
    assert ids(claim(own, worker)) == [due]


def test_a_lane_gives_its_cap_and_all_lanes_together_the_room(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    for queue in ("a", "b", "c"):
        tables.jobs(5, queue=queue)
    lanes = [lane(queue, cap=3) for queue in ("a", "b", "c")]
    got = Counter(job.queue for job in claim(own, worker, *lanes, room=7))
    assert got == {"a": 3, "b": 3, "c": 1}
    got = Counter(job.queue for job in claim(own, worker, *lanes, room=100))
    assert got == {"a": 2, "b": 2, "c": 3}


def test_lanes_are_served_in_the_order_given(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    low, high = tables.job(priority=-5, due_for=99), tables.job(priority=7, due_for=1)
    lanes = [lane(priority=7), lane(priority=-5)]
    assert ids(claim(own, worker, *lanes, room=1)) == [high]
    assert ids(claim(own, worker, *lanes, room=1)) == [low]


def test_a_lane_is_one_priority_of_one_queue(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job(queue="a", priority=1)
    tables.job(queue="b", priority=0)
    assert claim(own, worker, lane("a", 0), lane("b", 1)) == []


@pytest.mark.parametrize("queue", ['q"', "{a,b}", "a\\b", "NULL", "a b", "", "ä"])
def test_any_name_of_a_queue_is_only_a_name(own: Connection, tables: Tables, queue: str) -> None:
    worker = tables.worker()
    if queue:
        job_id = tables.job(queue=queue)
        assert ids(claim(own, worker, lane(queue))) == [job_id]
    assert claim(own, worker, lane(queue)) == []


def test_a_job_whose_time_is_over_is_claimed_as_expired(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job(expires_at="2020-01-01")
    [job] = claim(own, worker)
    assert job.expired


def test_a_worker_that_was_buried_claims_nothing(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    job_id = tables.job()
    store.run(own, SETTINGS, "bury", {"worker_id": worker, "seen": True})
    assert claim(own, worker) == []
    assert tables.row(job_id)["lease"] == 0


def test_without_room_or_lanes_nothing_is_claimed(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job()
    assert exchange(own, worker, room=0).claimed == []
    assert claim(own, worker, room=-3) == []


def test_a_locked_job_is_passed_over_and_not_waited_for(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    first, second, third = tables.jobs(3)
    tables.lock(other, first)
    assert sorted(ids(claim(own, worker, lane(cap=1)))) == [second]
    other.rollback()
    assert sorted(ids(claim(own, worker))) == [first, third]


def test_two_claims_at_once_share_the_jobs_and_wait_for_nobody(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """The first claim's transaction is still open while the second one runs."""
    mine, theirs = tables.worker("mine"), tables.worker("theirs")
    everything = tables.jobs(20, queue="a") + tables.jobs(20, queue="b")
    with own.transaction():
        first = store.execute(own, "claim", values(mine, room=15, cap=10)).fetchall()
        second = store.execute(other, "claim", values(theirs, room=100, cap=50)).fetchall()
    taken, rest = {row[0] for row in first}, {row[0] for row in second}
    assert len(taken) == 15
    assert not taken & rest
    # Only what the first one returned was locked: the second one got all others.
    assert taken | rest == set(everything)


def values(worker_id: int, *, room: int, cap: int) -> dict[str, object]:
    return {
        "worker_id": worker_id,
        "room": room,
        "queues": ["a", "b"],
        "priorities": [0, 0],
        "floor_times": "{-infinity,-infinity}",
        "floor_ids": [0, 0],
        "caps": [cap, cap],
        "suspects": True,
    }


def test_suspects_are_left_to_the_cells_where_a_supervisor_starts_them(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    suspect, plain = tables.job(suspect=True), tables.job()
    assert ids(claim(own, worker, takes="unsuspected")) == [plain]
    assert ids(claim(own, worker, takes="unsuspected")) == []
    assert ids(claim(own, worker)) == [suspect]


def test_a_cell_claims_the_best_suspect_of_its_queues_and_nothing_else(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    tables.job()
    tables.job(suspect=True, queue="elsewhere")
    tables.job(suspect=True, due_for=-5)
    late = tables.job(suspect=True, due_for=1)
    early = tables.job(suspect=True, due_for=2)
    best = tables.job(suspect=True, priority=77)
    got = [ids(claim(own, worker, room=5, takes="suspects")) for _ in range(4)]
    assert got == [[best], [early], [late], []]
    row = tables.row(best)
    assert (row["state"], row["worker_id"], row["attempt"]) == ("running", worker, 1)


def test_a_cell_that_was_buried_claims_nothing(own: Connection, tables: Tables) -> None:
    tables.job(suspect=True)
    assert claim(own, 4711, takes="suspects") == []


def test_two_cells_take_a_suspect_each(own: Connection, other: Connection, tables: Tables) -> None:
    cells = tables.worker("one"), tables.worker("two")
    both = {tables.job(suspect=True), tables.job(suspect=True)}
    with own.transaction():
        taken = [
            store.execute(each, "claim_suspect", {"worker_id": cell, "queues": ["default"]})
            for each, cell in zip((own, other), cells, strict=True)
        ]
    assert {row[0] for cursor in taken for row in cursor.fetchall()} == both


def test_waiting_suspects_are_those_that_are_due_or_nearly(own: Connection, tables: Tables) -> None:
    tables.job()
    tables.job(suspect=True, queue="elsewhere")
    tables.job(suspect=True, due_for=-60)
    tables.job("running", suspect=True, worker_id=1)
    values = {"queues": ["default"], "most": 2}
    assert store.run(own, SETTINGS, "waiting_suspects", values) == [(0,)]
    for _ in range(3):
        tables.job(suspect=True, due_for=-1)
    assert store.run(own, SETTINGS, "waiting_suspects", values) == [(2,)]


def test_a_claim_prepared_on_an_empty_table_does_not_scan_the_one_it_became(
    own: Connection, tables: Tables, connection: psycopg.Connection
) -> None:
    """A fresh installation: the plan is made before there is a page, and kept for long."""
    own.execute("alter table pgqueue.jobs set (autovacuum_enabled = off)")
    worker = tables.worker()
    own.execute("set plan_cache_mode = force_generic_plan")
    reused = Wire(own, patience=20.0)
    assert claimed(reused, worker) == 0
    own.execute(
        "insert into pgqueue.jobs (task, queue, run_at) "
        "select 't', 'a', now() - interval '1 hour' from generate_series(1, 5000)"
    )
    assert claimed(reused, worker) == 500
    own.close()  # then the server counts what it did
    assert wait_until(lambda: scans(connection), what="the claim is counted") == (500, 0)


def claimed(wire: Wire, worker: int) -> int:
    lanes = [LaneClaim("a", 0, None, 500)]
    sent = store.send(wire, SETTINGS, worker_id=worker, worker="w", lanes=lanes, room=500)
    return len(sent.receive().claimed)


def scans(connection: psycopg.Connection) -> tuple[int, int] | None:
    """The updates of `jobs`, and how often it was scanned as a whole; None before the first."""
    return connection.execute(
        "select n_tup_upd, seq_scan from pg_stat_user_tables "
        "where relid = 'pgqueue.jobs'::regclass and n_tup_upd > 0"
    ).fetchone()
