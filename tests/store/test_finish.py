"""The end of a lease: fenced by the lease alone, and never waiting for a lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.config import Settings
from pgqueue.outcome import Ephemeral, Succeeded, Unsuccessful
from pgqueue.wire import Wire
from tests.store.tables import SETTINGS, Background, Tables, claim, exchange, lane

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def succeed(connection: Connection, *done: Succeeded) -> list[int]:
    return exchange(connection, 0, succeeded=done).recorded


def end(connection: Connection, *done: Unsuccessful) -> list[int]:
    return exchange(connection, 0, unsuccessful=done).recorded


def test_a_success_is_recorded_with_its_result(own: Connection, tables: Tables) -> None:
    results = ['{"a": [1, null]}', "null", None, '"text"', "0", "[]"]
    jobs = [tables.job("running", worker_id=1) for _ in results]
    done = [Succeeded(id_, 1, result) for id_, result in zip(jobs, results, strict=True)]
    assert sorted(succeed(own, *reversed(done))) == jobs
    rows = [tables.row(job_id) for job_id in jobs]
    assert {(row["state"], row["lease"]) for row in rows} == {("succeeded", 2)}
    assert [row["result"] for row in rows] == [{"a": [1, None]}, None, None, "text", 0, []]
    assert all(row["finished_at"] is not None for row in rows)
    assert tables.attempts(jobs[0]) == []


def test_a_result_that_is_json_null_differs_from_no_result(own: Connection, tables: Tables) -> None:
    jobs = [tables.job("running", worker_id=1) for _ in range(2)]
    succeed(own, Succeeded(jobs[0], 1, "null"), Succeeded(jobs[1], 1, None))
    assert tables.run("select result is null from pgqueue.jobs order by id") == [(False,), (True,)]


@pytest.mark.parametrize("lease", [0, 2, 10**18])
def test_a_stale_lease_records_nothing(own: Connection, tables: Tables, lease: int) -> None:
    job_id = tables.job("running", worker_id=1)
    before = tables.row(job_id)
    assert succeed(own, Succeeded(job_id, lease, "1")) == []
    assert end(own, Unsuccessful(job_id, lease, "dead", ending="dead")) == []
    assert tables.row(job_id) == before
    assert tables.attempts(job_id) == []


def test_of_two_outcomes_of_one_lease_the_first_counts(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1)
    assert end(own, Unsuccessful(job_id, 1, "ready", delay=0, ending="retried")) == [job_id]
    assert succeed(own, Succeeded(job_id, 1, None)) == []
    assert end(own, Unsuccessful(job_id, 1, "dead", ending="dead")) == []
    assert tables.row(job_id)["state"] == "ready"
    assert tables.attempts(job_id) == [(1, 1, "retried")]


@pytest.mark.parametrize("kind", [Succeeded, Ephemeral])
def test_finishes_of_single_jobs_come_to_be_planned_no_more(
    own: Connection, tables: Tables, kind: type[Succeeded]
) -> None:
    name = "ephemeral" if kind is Ephemeral else "succeeded"
    wire = Wire(own, patience=20.0)
    for _ in range(10):
        done = [kind(tables.job("running", worker_id=1), 1, None)]
        outcomes: dict[str, Any] = {name: done}
        store.send(wire, SETTINGS, worker_id=1, worker="w", **outcomes).receive()
    counts = own.execute(
        "select generic_plans, custom_plans from pg_prepared_statements where name like %s",
        [f"pgqueue_finish_{name}_%"],
    ).fetchall()
    assert counts == [(5, 5)]


def test_stale_and_valid_leases_in_one_batch_are_told_apart(
    own: Connection, tables: Tables
) -> None:
    jobs = [tables.job("running", worker_id=1) for _ in range(4)]
    done = [Succeeded(id_, 1 + place % 2, None) for place, id_ in enumerate(jobs)]
    assert sorted(succeed(own, *done)) == jobs[::2]


def test_a_failure_is_due_again_and_leaves_its_attempt(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, attempt=3)
    failed = Unsuccessful(
        job_id,
        1,
        "ready",
        delay=100.5,
        ending="retried",
        error_type="KeyError",
        message="'x' \N{SNOWMAN}\n\"",
        traceback="Traceback",
    )
    assert end(own, failed) == [job_id]
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["attempt"]) == ("ready", 2, 3)
    assert row["worker_id"] is row["finished_at"] is None
    [(waits,)] = tables.run("select extract(epoch from run_at - now())::float8 from pgqueue.jobs")
    assert 95 < waits <= 100.5
    [kept] = tables.run(
        "select attempt, outcome, worker_id, worker, error_type, message, traceback, "
        "started_at is not null from pgqueue.attempts"
    )
    assert kept == (3, "retried", 1, "w", "KeyError", "'x' \N{SNOWMAN}\n\"", "Traceback", True)


@pytest.mark.parametrize("state", ["dead", "cancelled", "expired"])
def test_a_final_end_says_when_and_keeps_who_ran_it(
    own: Connection, tables: Tables, state: Any
) -> None:
    job_id = tables.job("running", worker_id=1)
    assert end(own, Unsuccessful(job_id, 1, state, ending=state)) == [job_id]
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["worker_id"]) == (state, 2, 1)
    assert row["finished_at"] is not None
    assert tables.attempts(job_id) == [(1, 1, state)]


def test_a_release_gives_the_attempt_back_without_a_trace(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, attempt=3, suspect=True)
    assert end(own, Unsuccessful(job_id, 1, "ready", refund=1)) == [job_id]
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["attempt"]) == ("ready", 2, 2)
    assert row["suspect"]
    assert tables.attempts(job_id) == []


def test_a_suspect_whose_attempt_ended_by_itself_is_none_any_more(
    own: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=1, suspect=True)
    end(own, Unsuccessful(job_id, 1, "ready", ending="retried"))
    assert not tables.row(job_id)["suspect"]


@pytest.mark.parametrize("state", ["ready", "dead"])
@pytest.mark.parametrize("ending", ["retried", None])
def test_where_cancel_was_requested_any_end_but_success_is_cancelled(
    own: Connection, tables: Tables, state: Any, ending: Any
) -> None:
    job_id = tables.job("running", worker_id=1, cancel_requested_at="now")
    end(own, Unsuccessful(job_id, 1, state, ending=ending))
    row = tables.row(job_id)
    assert (row["state"], row["lease"]) == ("cancelled", 2)
    assert row["finished_at"] is not None
    assert tables.attempts(job_id) == ([(1, 1, "cancelled")] if ending else [])


def test_a_success_that_comes_before_the_cancel_wins(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, cancel_requested_at="now")
    assert succeed(own, Succeeded(job_id, 1, None)) == [job_id]
    assert tables.row(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("delay", [0.0, 1e-6, 365 * 24 * 3600.0])
def test_every_delay_that_a_rule_can_give_is_taken(
    own: Connection, tables: Tables, delay: float
) -> None:
    job_id = tables.job("running", worker_id=1)
    assert end(own, Unsuccessful(job_id, 1, "ready", delay=delay, ending="retried")) == [job_id]


def test_a_locked_job_is_not_waited_for_and_comes_back_unrecorded(
    own: Connection, other: Connection, tables: Tables
) -> None:
    first, second, third, fourth = (tables.job("running", worker_id=1) for _ in range(4))
    tables.lock(other, first, third)
    reply = exchange(
        own,
        0,
        succeeded=[Succeeded(first, 1, None), Succeeded(second, 1, None)],
        unsuccessful=[
            Unsuccessful(third, 1, "dead", ending="dead"),
            Unsuccessful(fourth, 1, "dead", ending="dead"),
        ],
    )
    assert sorted(reply.recorded) == [second, fourth]
    assert tables.attempts(third) == []
    other.rollback()
    assert succeed(own, Succeeded(first, 1, None)) == [first]


def test_a_bad_result_takes_the_whole_exchange_with_it(own: Connection, tables: Tables) -> None:
    """One round trip, one transaction: nothing is recorded and nothing is claimed."""
    worker = tables.worker()
    good, bad = (tables.job("running", worker_id=worker) for _ in range(2))
    due = tables.job()
    with pytest.raises(psycopg.DataError) as refused:
        exchange(
            own,
            worker,
            succeeded=[Succeeded(good, 1, "1"), Succeeded(bad, 1, r'"\u0000"')],
            room=10,
        )
    assert (refused.value.sqlstate or "").startswith("22")
    assert [tables.row(id_)["state"] for id_ in (good, bad, due)] == ["running", "running", "ready"]
    assert sorted(succeed(own, Succeeded(good, 1, "1"))) == [good]


def test_five_hundred_of_each_are_one_exchange(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    due = "insert into pgqueue.jobs (task, run_at) select 't', '2024-01-01' from "
    tables.run(due + "generate_series(1, 1500)")
    jobs = [job for _ in range(2) for job in claim(own, worker, lane(cap=500), room=500)]
    reply = exchange(
        own,
        worker,
        lane(cap=500),
        succeeded=[Succeeded(job.id, job.lease, "1") for job in jobs[:500]],
        unsuccessful=[Unsuccessful(job.id, job.lease, "dead", ending="dead") for job in jobs[500:]],
        room=500,
    )
    assert len(set(reply.recorded)) == 1000
    states = tables.run("select state, count(*) from pgqueue.jobs group by state")
    assert dict(states) == {"dead": 500, "running": 500, "succeeded": 500}


def test_a_transactional_finish_lives_and_dies_with_the_handlers_transaction(
    own: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=1)
    values = {"id": job_id, "lease": 1, "result": json.dumps({"a": 1})}
    with own.transaction(force_rollback=True):
        assert store.execute(own, "finish_transactional", values).fetchall() == [(job_id, None)]
    assert tables.row(job_id)["lease"] == 1
    with own.transaction():
        store.execute(own, "finish_transactional", values)
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["result"]) == ("succeeded", 2, {"a": 1})
    assert store.execute(own, "finish_transactional", values).fetchall() == []


def test_two_transactional_finishes_of_one_lease_cannot_both_commit(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """The second one waits for the first one's COMMIT, and then finds its lease lost."""
    job_id = tables.job("running", worker_id=1)
    values = {"id": job_id, "lease": 1, "result": None}
    with own.transaction():
        assert len(store.execute(own, "finish_transactional", values).fetchall()) == 1
        second = Background(lambda: store.run(other, SETTINGS, "finish_transactional", values))
        tables.wait_for_lock("the second finish")
    assert second.result() == []
    assert tables.row(job_id)["lease"] == 2


def test_a_finish_that_waits_for_a_lock_ends_at_the_lock_timeout(
    own: Connection, other: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=1)
    tables.lock(other, job_id)
    values = {"id": job_id, "lease": 1, "result": None}
    impatient = Settings(lock_timeout=0.05)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        store.run(own, impatient, "finish_transactional", values)
    other.rollback()
    assert tables.row(job_id)["state"] == "running"


def test_the_limits_end_with_the_exchange(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    names = ("statement_timeout", "lock_timeout", "enable_hashjoin", "enable_sort")
    before = [own.execute(f"show {name}".encode()).fetchone() for name in names]
    exchange(own, worker, room=1)
    assert [own.execute(f"show {name}".encode()).fetchone() for name in names] == before


COMMIT_SETTING = """
    create table seen (setting text);
    create function note() returns trigger language plpgsql as $$
        begin
            insert into public.seen values (current_setting('synchronous_commit'));
            return null;
        end $$;
    create constraint trigger note after update on pgqueue.jobs
        deferrable initially deferred for each row execute function note()"""


@pytest.mark.parametrize("waits", [True, False])
def test_an_exchange_commits_as_the_setting_says(
    own: Connection, tables: Tables, waits: bool
) -> None:
    worker = tables.worker()
    done, _ = tables.job("running", worker_id=worker), tables.job()
    tables.run(COMMIT_SETTING)
    settings = Settings(synchronous_commit=waits)
    exchange(own, worker, settings=settings, succeeded=[Succeeded(done, 1, None)], room=1)
    assert tables.run("select distinct setting from seen") == [("on" if waits else "off",)]
    assert own.execute("show synchronous_commit").fetchone() == ("on",)


def test_without_prepared_statements_nothing_stays_on_the_server(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    own.prepare_threshold = None
    job_id = tables.job("running", worker_id=worker)
    for _ in range(7):
        exchange(own, worker, succeeded=[Succeeded(job_id, 1, None)], room=1)
    assert own.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)
