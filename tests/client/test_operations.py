"""Cancel, requeue and delete: what may happen to a job, its key and its waiters."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.errors import ConnectionFailed, JobConflict, JobNotFound
from pgqueue.job import FINAL_STATES, STATES
from tests.sleeping import fall_asleep
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue


def hold_key(
    connection: psycopg.Connection[Any], job_id: int, *, scope: str = "t", window: str | None = None
) -> None:
    connection.execute(
        "insert into pgqueue.idempotency_keys "
        "values (%s, 'k', %s, clock_timestamp() + %s::interval, %s)",
        [scope, job_id, window, "finished" if window is None else None],
    )


def key_holder(connection: psycopg.Connection[Any]) -> Any:
    return connection.execute(
        "select job_id, expires_at from pgqueue.idempotency_keys where key = 'k'"
    ).fetchone()


def heard(listener: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    listener.execute("select 1")
    return [(n.channel, n.payload) for n in listener.notifies(timeout=0)]


@pytest.mark.parametrize("state", ["ready", "blocked"])
def test_a_job_that_nobody_runs_is_cancelled_at_once(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]], state: str
) -> None:
    job_id = make_job(state, lease=3)
    assert app.cancel(job_id) == "cancelled"
    row = read(job_id)
    assert (row["state"], row["lease"]) == ("cancelled", 4)
    assert row["finished_at"] is not None


def test_a_running_job_is_asked_to_end_and_its_worker_is_told(
    app: PgQueue,
    make_job: Callable[..., int],
    read: Callable[[int], dict[str, Any]],
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute("listen pgqueue_worker")
    job_id = make_job("running", worker_id=77, lease=5)
    assert app.cancel(job_id) == "requested"
    row = read(job_id)
    assert (row["state"], row["lease"]) == ("running", 5)
    assert row["cancel_requested_at"] is not None
    assert heard(connection) == [("pgqueue_worker", "77")]


def test_a_second_request_keeps_the_time_of_the_first(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]]
) -> None:
    job_id = make_job("running")
    app.cancel(job_id)
    first = read(job_id)["cancel_requested_at"]
    app.cancel(job_id)
    assert read(job_id)["cancel_requested_at"] == first


@pytest.mark.parametrize("state", FINAL_STATES)
def test_cancelling_a_job_that_has_ended_says_how_it_ended(
    app: PgQueue, make_job: Callable[..., int], state: str
) -> None:
    job_id = make_job(state)
    with pytest.raises(JobConflict, match=f"job {job_id} is already {state}"):
        app.cancel(job_id)


def test_an_id_that_does_not_exist_is_not_found(app: PgQueue) -> None:
    for action in (app.cancel, app.requeue, app.delete, app.job):
        with pytest.raises(JobNotFound, match="no job has the id 12345"):
            action(12345)


@pytest.mark.parametrize("state", ["dead", "cancelled", "expired"])
def test_a_requeued_job_is_ready_with_all_its_attempts(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]], state: str
) -> None:
    job_id = make_job(
        state,
        lease=9,
        attempt=8,
        crash_count=3,
        suspect=True,
        worker_id=1,
        result='{"a": 1}',
        finished_at="2024-01-01",
        started_at="2024-01-01",
        cancel_requested_at="2024-01-01",
        run_at="2024-01-01",
    )
    before = read(job_id)
    app.requeue(job_id)
    row = read(job_id)
    changed = {name: row[name] for name in row if row[name] != before[name]}
    assert changed.pop("run_at") > before["run_at"]
    assert changed == {
        "state": "ready",
        "lease": 10,
        "attempt": 0,
        "crash_count": 0,
        "suspect": False,
        "worker_id": None,
        "result": None,
        "finished_at": None,
        "started_at": None,
        "cancel_requested_at": None,
    }


def test_a_requeued_job_does_not_expire_again_at_once(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]]
) -> None:
    lapsed = make_job("expired", expires_at="2024-01-01")
    later = make_job("dead", expires_at="2999-01-01")
    app.operator.requeue([lapsed, later])
    assert read(lapsed)["expires_at"] is None
    assert read(later)["expires_at"] is not None


@pytest.mark.parametrize("state", sorted(set(STATES) - {"dead", "cancelled", "expired"}))
def test_a_job_that_is_live_or_succeeded_is_not_requeued(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]], state: str
) -> None:
    job_id = make_job(state, key="k")
    before = read(job_id)
    with pytest.raises(JobConflict, match=f"job {job_id} is {state}: only jobs that are dead"):
        app.requeue(job_id)
    assert read(job_id) == before


def test_requeue_keeps_the_recorded_attempts(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", lease=2)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) values (%s, 1, 1, 'dead')",
        [job_id],
    )
    app.requeue(job_id)
    assert [attempt.outcome for attempt in app.job(job_id).attempts] == ["dead", "requeued"]


def test_requeue_wakes_a_queue_in_which_a_worker_sleeps_and_no_other(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    fall_asleep(connection, "mail", 1)
    connection.execute('listen "pgqueue.mail"')
    connection.execute('listen "pgqueue.default"')
    jobs = [make_job("dead", queue="mail", priority=priority) for priority in (5, 5, -1)]
    app.operator.requeue([*jobs, make_job("dead")])
    assert sorted(heard(connection)) == [("pgqueue.mail", "-1"), ("pgqueue.mail", "5")]


def test_a_requeued_job_holds_its_own_key_again(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", key="k")
    hold_key(connection, job_id)
    app.requeue(job_id)
    assert key_holder(connection) == (job_id, None)


def test_a_requeued_job_takes_a_key_that_nobody_has(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", key="k", key_scope="shop")
    app.requeue(job_id)
    row = connection.execute("select * from pgqueue.idempotency_keys").fetchone()
    assert row == ("shop", "k", job_id, None, "finished")


@pytest.mark.parametrize("state", FINAL_STATES)
def test_a_requeued_job_takes_its_key_back_from_a_job_that_has_ended(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any], state: str
) -> None:
    job_id = make_job("dead", key="k")
    hold_key(connection, make_job(state, key="k"))
    app.requeue(job_id)
    assert key_holder(connection) == (job_id, None)


@pytest.mark.parametrize("state", ["ready", "running", "blocked"])
def test_a_requeue_is_refused_while_another_job_holds_the_key(
    app: PgQueue,
    make_job: Callable[..., int],
    read: Callable[[int], dict[str, Any]],
    connection: psycopg.Connection[Any],
    state: str,
) -> None:
    job_id = make_job("dead", key="k")
    holder = make_job(state, key="k")
    hold_key(connection, holder)
    with pytest.raises(JobConflict, match=f"job {holder} holds its key 'k' in scope 't'"):
        app.requeue(job_id)
    assert read(job_id)["state"] == "dead"
    assert key_holder(connection) == (holder, None)


def test_a_requeue_is_refused_while_another_job_s_window_is_open(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", key="k")
    holder = make_job("succeeded", key="k")
    hold_key(connection, holder, window="1 hour")
    with pytest.raises(JobConflict, match=f"job {holder} holds its key"):
        app.requeue(job_id)


def test_a_lapsed_window_does_not_stand_in_the_way(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", key="k")
    hold_key(connection, make_job("succeeded", key="k"), window="-1 hour")
    app.requeue(job_id)
    assert key_holder(connection) == (job_id, None)


def test_a_requeued_job_s_own_open_window_stays_as_it_is(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", key="k")
    hold_key(connection, job_id, window="1 hour")
    before = key_holder(connection)
    app.requeue(job_id)
    assert key_holder(connection) == before


@pytest.mark.parametrize("held", [None, 0, 1])
def test_of_two_jobs_with_one_key_only_one_is_requeued(
    app: PgQueue,
    make_job: Callable[..., int],
    connection: psycopg.Connection[Any],
    held: int | None,
) -> None:
    jobs = [make_job("dead", key="k"), make_job("dead", key="k")]
    if held is not None:
        hold_key(connection, jobs[held])
    report = app.operator.requeue(jobs)
    winner = key_holder(connection)[0]
    assert report.done == {winner: "requeued"}
    assert held is None or winner == jobs[held]
    [(loser, error)] = report.refused.items()
    assert f"job {loser} cannot be requeued: job {winner} holds" in str(error)


@pytest.mark.parametrize(("attempt", "requeued"), [(0, False), (1, True)])
def test_a_key_held_until_its_job_starts_is_free_for_a_requeue_after_that(
    app: PgQueue,
    make_job: Callable[..., int],
    connection: psycopg.Connection[Any],
    attempt: int,
    requeued: bool,
) -> None:
    job_id = make_job("dead", key="k")
    rival = make_job("ready", key="k", attempt=attempt)
    connection.execute(
        "insert into pgqueue.idempotency_keys values ('t', 'k', %s, null, 'started')", [rival]
    )
    report = app.operator.requeue([job_id])
    assert (job_id in report.done) is requeued
    assert key_holder(connection) == (job_id if requeued else rival, None)
    term = connection.execute("select until from pgqueue.idempotency_keys").fetchone()
    assert term == ("started",)


def test_requeue_waits_for_an_enqueue_that_is_taking_its_key(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any], dsn: str
) -> None:
    job_id = make_job("dead", key="k")
    reports = []
    with psycopg.connect(dsn) as rival:
        answer = rival.execute(
            """select pgqueue.enqueue('{"task": "t", "key": "k"}')::json ->> 'id'"""
        ).fetchone()
        thread = threading.Thread(target=lambda: reports.append(app.operator.requeue([job_id])))
        thread.start()
        wait_until(lambda: waiting_for_lock(connection))
        rival.commit()
        thread.join()
    assert answer is not None
    assert f"job {answer[0]} holds its key" in str(reports[0].refused[job_id])


def test_a_key_that_vanishes_between_two_steps_is_taken_all_the_same(
    app: PgQueue,
    make_job: Callable[..., int],
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = make_job("dead", key="k")
    hold_key(connection, job_id)
    execute, rounds = store.execute, []

    def interrupted(own: Any, name: str, values: Any) -> Any:
        cursor = execute(own, name, values)
        if name == "operator_insert_keys":
            rounds.append(name)
            if len(rounds) == 1:
                connection.execute("delete from pgqueue.idempotency_keys")
        return cursor

    monkeypatch.setattr(store, "execute", interrupted)
    app.requeue(job_id)
    assert key_holder(connection) == (job_id, None)
    assert len(rounds) == 2


def waiting_for_lock(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        "and datname = current_database()"
    ).fetchone()
    return row is not None and row[0] > 0


@pytest.mark.parametrize("state", FINAL_STATES)
def test_a_deleted_job_leaves_nothing_behind(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any], state: str
) -> None:
    job_id = make_job(state, key="k")
    hold_key(connection, job_id)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) values (%s, 1, 1, 'dead')",
        [job_id],
    )
    app.delete(job_id)
    for table in ("jobs", "attempts", "idempotency_keys"):
        assert connection.execute(f"select from pgqueue.{table}".encode()).fetchall() == []


@pytest.mark.parametrize("state", sorted(set(STATES) - set(FINAL_STATES)))
def test_a_live_job_is_not_deleted(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]], state: str
) -> None:
    job_id = make_job(state)
    with pytest.raises(JobConflict, match=f"job {job_id} is {state}: cancel it first"):
        app.delete(job_id)
    assert read(job_id)["state"] == state


def test_delete_leaves_a_key_that_another_job_holds_or_whose_window_is_open(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    first = make_job("dead", key="k", key_scope="a")
    second = make_job("dead", key="k", key_scope="b")
    hold_key(connection, make_job("ready"), scope="a")
    hold_key(connection, second, scope="b", window="1 hour")
    app.operator.delete([first, second])
    kept = connection.execute("select scope from pgqueue.idempotency_keys order by 1").fetchall()
    assert kept == [("a",), ("b",)]


def test_a_batch_says_of_each_job_what_became_of_it(
    app: PgQueue, make_job: Callable[..., int]
) -> None:
    ready, running, dead = make_job(), make_job("running"), make_job("dead")
    report = app.operator.cancel([dead, running, ready, 999, ready])
    assert report.done == {ready: "cancelled", running: "requested"}
    assert {id_: type(error) for id_, error in report.refused.items()} == {
        dead: JobConflict,
        999: JobNotFound,
    }


def test_a_job_that_left_the_asked_for_states_is_left_alone(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]]
) -> None:
    job_id = make_job("running")
    report = app.operator.cancel([job_id], states=["ready"])
    assert "is running by now" in str(report.refused[job_id])
    assert read(job_id)["cancel_requested_at"] is None


def test_more_jobs_than_one_transaction_takes_are_done_in_several(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 2500)")
    report = app.operator.cancel(range(1, 2501))
    assert len(report.done) == 2500
    transactions = connection.execute("select count(distinct xmin::text) from pgqueue.jobs")
    assert transactions.fetchone() == (3,)


def test_a_database_that_does_not_answer_is_one_clear_error() -> None:
    from pgqueue import PgQueue, Settings  # noqa: PLC0415 - the public names

    dsn = "postgresql://me:secret@127.0.0.1:1/none"
    with PgQueue(dsn, settings=Settings(connect_timeout=1)) as app:
        with pytest.raises(ConnectionFailed, match=r"cannot connect to .*127\.0\.0\.1:1") as caught:
            app.cancel(1)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("state", STATES)
def test_only_jobs_that_wait_are_purged(
    app: PgQueue, make_job: Callable[..., int], read: Callable[[int], dict[str, Any]], state: str
) -> None:
    job_id = make_job(state)
    report = app.operator.purge([job_id, 12345])
    assert isinstance(report.refused.pop(12345), JobNotFound)
    if state in ("ready", "blocked"):
        assert report.done == {job_id: "purged"}
        with pytest.raises(JobNotFound):
            app.job(job_id)
    else:
        assert str(report.refused[job_id]) == (
            f"job {job_id} is {state} by now: only jobs that wait are purged"
        )
        assert read(job_id)["state"] == state


def test_a_job_that_is_claimed_before_it_is_purged_runs(
    app: PgQueue, make_job: Callable[..., int], connection: psycopg.Connection[Any], dsn: str
) -> None:
    job_id = make_job()
    with psycopg.connect(dsn) as worker:
        worker.execute(
            "update pgqueue.jobs set state = 'running', lease = 1, worker_id = 1 where id = %s",
            [job_id],
        )
        refused: list[Any] = []
        purging = threading.Thread(
            target=lambda: refused.append(app.operator.purge([job_id]).refused[job_id])
        )
        purging.start()
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
        wait_until(lambda: connection.execute(waits, [worker.info.dbname]).rowcount == 1)
    purging.join(10)
    assert "is running by now" in str(refused[0])
