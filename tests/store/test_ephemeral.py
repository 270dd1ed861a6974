"""The success of an ephemeral job is recorded by deleting it, under its lease and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgqueue import store
from pgqueue.outcome import Ephemeral, Succeeded, Unsuccessful
from tests.store.tables import SETTINGS, Background, Tables, exchange

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def left(tables: Tables) -> list[tuple[int, str]]:
    return [
        (id_, state) for id_, state in tables.run("select id, state from pgqueue.jobs order by 1")
    ]


def test_the_job_its_attempts_and_its_key_are_gone(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=3, key="k")
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) "
        "values (%s, 1, 1, 'retried')",
        job_id,
    )
    tables.run("insert into pgqueue.idempotency_keys values ('t', 'k', %s)", job_id)
    assert exchange(own, 1, ephemeral=[Ephemeral(job_id, 3, None)]).recorded == [job_id]
    for table in ("jobs", "attempts", "idempotency_keys"):
        assert tables.run(f"select from pgqueue.{table}") == []


def test_a_lease_that_was_lost_deletes_nothing(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=3)
    assert exchange(own, 1, ephemeral=[Ephemeral(job_id, 2, None)]).recorded == []
    values = {"id": job_id, "lease": 2}
    assert store.run(own, SETTINGS, "finish_transactional_ephemeral", values) == []
    assert left(tables) == [(job_id, "running")]


def test_it_goes_with_other_outcomes_and_a_claim_in_one_exchange(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    kept, gone, dead = (tables.job("running", worker_id=worker) for _ in range(3))
    ready = tables.job()
    reply = exchange(
        own,
        worker,
        room=10,
        succeeded=[Succeeded(kept, 1, '"r"')],
        unsuccessful=[Unsuccessful(dead, 1, "dead", ending="dead")],
        ephemeral=[Ephemeral(gone, 1, None)],
        suspect_id=None,
    )
    assert sorted(reply.recorded) == [kept, gone, dead]
    assert [job.id for job in reply.claimed] == [ready]
    assert left(tables) == [(kept, "succeeded"), (dead, "dead"), (ready, "running")]


def test_a_locked_job_is_left_for_the_next_exchange(
    own: Connection, other: Connection, tables: Tables
) -> None:
    free, locked = (tables.job("running", worker_id=1) for _ in range(2))
    tables.lock(other, locked)
    both = [Ephemeral(free, 1, None), Ephemeral(locked, 1, None)]
    assert exchange(own, 1, ephemeral=both).recorded == [free]
    other.rollback()
    assert exchange(own, 1, ephemeral=both).recorded == [locked]


def test_within_the_handler_s_transaction_a_locked_job_is_waited_for(
    own: Connection, other: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=1)
    tables.lock(other, job_id)
    values = {"id": job_id, "lease": 1}
    finish = Background(lambda: store.run(own, SETTINGS, "finish_transactional_ephemeral", values))
    tables.wait_for_lock("the finish")
    other.rollback()
    assert [row[0] for row in finish.result()] == [job_id]
    assert left(tables) == []


@pytest.mark.parametrize("statement", ["exchange", "transaction"])
def test_a_window_that_is_open_outlives_the_job(
    own: Connection, tables: Tables, statement: str
) -> None:
    job_id = tables.job("running", worker_id=1, key="k")
    tables.run(
        "insert into pgqueue.idempotency_keys values ('t', 'k', %s, '3000-01-01', null)", job_id
    )
    if statement == "exchange":
        exchange(own, 1, ephemeral=[Ephemeral(job_id, 1, None)])
    else:
        values = {"id": job_id, "lease": 1}
        store.run(own, SETTINGS, "finish_transactional_ephemeral", values)
    assert tables.run("select key from pgqueue.idempotency_keys") == [("k",)]
    assert left(tables) == []


@pytest.mark.parametrize("statement", ["exchange", "transaction"])
def test_who_waits_for_the_job_is_woken_and_its_progress_is_gone(
    own: Connection, other: Connection, tables: Tables, statement: str
) -> None:
    job_id = tables.job("running", worker_id=1)
    tables.run("insert into pgqueue.waiters values (1, '3000-01-01')")
    tables.run("insert into pgqueue.waits values (%s, 1)", job_id)
    tables.run(
        "insert into pgqueue.progress (job_id, lease, sequence, done) values (%s, 1, 1, 1)", job_id
    )
    other.execute("listen pgqueue_finished")
    if statement == "exchange":
        assert exchange(own, 1, ephemeral=[Ephemeral(job_id, 1, None)]).recorded == [job_id]
    else:
        values = {"id": job_id, "lease": 1}
        store.run(own, SETTINGS, "finish_transactional_ephemeral", values)
    told = list(other.notifies(timeout=5, stop_after=1))
    assert [note.payload for note in told] == [str(job_id)]
    assert tables.run("select from pgqueue.progress") == []
