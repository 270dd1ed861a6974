"""Taking jobs from a dead worker: at no cost, with blame only where it belongs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.outcome import Succeeded
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.heartbeat import EVERY, SLACK, Heartbeat, Seen
from pgqueue.worker.steps import rescue as rescue_step
from pgqueue.worker.steps.rescue import NEVER, Rescue, bury
from tests.store.tables import SETTINGS, Background, Tables, claim, exchange, lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.connections import Connection


def bury_it(
    connection: Connection,
    worker_id: int,
    *,
    started: Sequence[int] | None = None,
    ended: Sequence[int] = (),
    intended: bool = False,
) -> list[Event]:
    told: list[Event] = []
    emit = Events(told.append)
    bury(connection, SETTINGS, worker_id, emit, started=started, ended=ended, intended=intended)
    return told


def silent(connection: Connection) -> list[int]:
    values = {"ids": "{}", "queues": [], "most": 0}
    rows = store.run(connection, SETTINGS, "heartbeat", values)
    return [worker_id for kind, worker_id, _ in rows if kind == "silent"]


def strike(tables: Tables, job_id: int, *, attempt: int = 1, outcome: str = "rescued") -> None:
    """Let an earlier claim of the job have ended like this."""
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) values (%s, -1, %s, %s)",
        job_id,
        attempt,
        outcome,
    )


def name_suspect(connection: Connection, worker_id: int, job_id: int) -> None:
    exchange(connection, worker_id, suspect_id=job_id)


def test_a_rescued_job_is_ready_at_once_with_its_attempt_given_back(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker("dying")
    job_id = tables.job("running", worker_id=worker, attempt=2)
    other_one = tables.job("running", worker_id=tables.worker())
    told = bury_it(own, worker, started=[job_id, other_one])
    row = tables.row(job_id)
    assert (row["state"], row["lease"], row["attempt"]) == ("ready", 2, 1)
    assert row["worker_id"] is row["finished_at"] is None
    assert row["crash_count"] == 0
    assert tables.attempts(job_id) == [(1, 2, "rescued")]
    assert told == [events.JobsRescued(worker, "dying", 1, ())]
    assert tables.row(other_one)["state"] == "running"


def test_what_had_not_started_goes_back_without_a_trace(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    started = [tables.job("running", worker_id=worker) for _ in range(2)]
    waiting = tables.job("running", worker_id=worker)
    bury_it(own, worker, started=started)
    assert tables.attempts(waiting) == []
    assert [tables.attempts(id_) for id_ in started] == [[(1, 1, "rescued")]] * 2
    assert [tables.row(id_)["crash_count"] for id_ in started] == [0, 0]


def test_what_had_ended_without_being_recorded_is_rescued_with_a_trace_and_without_blame(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    guilty, ended, waiting = (tables.job("running", worker_id=worker) for _ in range(3))
    recorded = tables.job("succeeded", lease=2)
    bury_it(own, worker, started=[guilty], ended=[ended, recorded])
    assert tables.attempts(ended) == [(1, 1, "rescued")]
    assert tables.attempts(waiting) == tables.attempts(recorded) == []
    assert [tables.row(id_)["crash_count"] for id_ in (guilty, ended, waiting)] == [1, 0, 0]


def test_among_several_nobody_is_suspected_the_first_time_and_all_the_second(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    first, second, waiting = (tables.job("running", worker_id=worker) for _ in range(3))
    strike(tables, second)
    strike(tables, waiting)
    bury_it(own, worker, started=[first, second])
    suspected = [tables.row(id_)["suspect"] for id_ in (first, second, waiting)]
    assert suspected == [False, True, False]


@pytest.mark.parametrize(("attempt", "outcome"), [(1, "rescued"), (2, "interrupted")])
def test_other_attempts_and_workers_that_stopped_make_no_suspects(
    own: Connection, tables: Tables, attempt: int, outcome: str
) -> None:
    worker = tables.worker()
    jobs = [tables.job("running", worker_id=worker, attempt=2) for _ in range(2)]
    strike(tables, jobs[0], attempt=attempt, outcome=outcome)
    bury_it(own, worker, started=jobs)
    assert not tables.row(jobs[0])["suspect"]


def test_the_only_job_that_ran_is_blamed(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    job_id, waiting = (tables.job("running", worker_id=worker) for _ in range(2))
    bury_it(own, worker, started=[job_id])
    row = tables.row(job_id)
    assert (row["crash_count"], row["suspect"], row["state"]) == (1, True, "ready")
    assert tables.run("select error_type, message from pgqueue.attempts") == [
        ("crashed", "its worker process died while it ran (1 of 3)")
    ]
    assert tables.row(waiting)["crash_count"] == 0


def test_unseen_the_suspect_that_ran_is_blamed_and_what_ran_beside_it_is_not(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker(silent_for=60)
    suspect = tables.job("running", worker_id=worker, suspect=True, crash_count=1)
    beside = tables.job("running", worker_id=worker)
    strike(tables, beside)
    name_suspect(own, worker, suspect)
    bury_it(own, worker)
    assert [tables.row(id_)["crash_count"] for id_ in (suspect, beside)] == [2, 0]
    assert not tables.row(beside)["suspect"]
    assert tables.attempts(beside)[-1][2] == "rescued"


def test_seen_nobody_is_blamed_for_what_one_of_several_did(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    suspect = tables.job("running", worker_id=worker, suspect=True, crash_count=2)
    beside = tables.job("running", worker_id=worker)
    name_suspect(own, worker, suspect)
    bury_it(own, worker, started=[beside, suspect])
    assert [tables.row(id_)["crash_count"] for id_ in (suspect, beside)] == [2, 0]
    assert tables.row(suspect)["state"] == "ready"


def test_at_the_cap_it_is_dead_with_an_attempt_that_says_so(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker("w9")
    job_id = tables.job("running", worker_id=worker, suspect=True, crash_count=2)
    name_suspect(own, worker, job_id)
    told = bury_it(own, worker, started=[job_id])
    row = tables.row(job_id)
    assert (row["state"], row["crash_count"], row["lease"]) == ("dead", 3, 2)
    assert row["finished_at"] is not None
    assert tables.run("select outcome, error_type, message, worker from pgqueue.attempts") == [
        ("dead", "crashed", "its worker process died while it ran (3 of 3)", "w9")
    ]
    assert told == [events.JobsRescued(worker, "w9", 1, (job_id,))]


def test_a_worker_that_was_killed_on_purpose_makes_no_suspects(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    was_one = tables.job("running", worker_id=worker, suspect=True)
    bury_it(own, worker, started=[job_id], intended=True)
    row = tables.row(job_id)
    assert (row["state"], row["suspect"], row["crash_count"]) == ("ready", False, 0)
    assert tables.attempts(job_id) == [(1, 1, "interrupted")]
    assert tables.row(was_one)["suspect"]


def test_a_suspect_that_had_ended_is_not_blamed_for_the_next_death(
    own: Connection, tables: Tables
) -> None:
    """Its name stays with the worker; it counts only while it runs there."""
    worker = tables.worker(silent_for=60)
    ended = tables.job("succeeded", lease=4)
    name_suspect(own, worker, ended)
    runs = tables.job("running", worker_id=worker, lease=5)
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) "
        "values (%s, 3, 1, 'rescued')",
        runs,
    )
    bury_it(own, worker)
    assert tables.row(runs)["suspect"]
    assert tables.row(ended)["crash_count"] == 0


def test_unseen_a_job_is_suspected_when_a_worker_is_lost_under_it_again(
    own: Connection, tables: Tables
) -> None:
    first, second = tables.worker(silent_for=60), tables.worker(silent_for=60)
    job_id = tables.job("running", worker_id=first)
    bury_it(own, first)
    assert not tables.row(job_id)["suspect"]
    assert tables.attempts(job_id) == [(1, 1, "rescued")]
    assert claim(own, second)[0].id == job_id
    bury_it(own, second)
    row = tables.row(job_id)
    assert (row["suspect"], row["crash_count"], row["attempt"]) == (True, 0, 0)


def test_unseen_a_worker_that_beats_is_spared(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    assert bury_it(own, worker) == []
    assert tables.row(job_id)["state"] == "running"
    assert tables.run("select count(*) from pgqueue.workers") == [(1,)]


def test_jobs_of_a_worker_whose_row_is_gone_are_rescued_unseen(
    own: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=4711)
    told = bury_it(own, 4711)
    assert told == [events.JobsRescued(4711, None, 1, ())]
    assert tables.row(job_id)["state"] == "ready"


@pytest.mark.parametrize("started", [True, False])
def test_where_cancel_was_requested_the_job_is_cancelled(
    own: Connection, tables: Tables, started: bool
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker, cancel_requested_at="now")
    bury_it(own, worker, started=[job_id] if started else [])
    row = tables.row(job_id)
    assert (row["state"], row["lease"]) == ("cancelled", 2)
    assert row["finished_at"] is not None
    assert tables.attempts(job_id) == ([(1, 1, "cancelled")] if started else [])


def test_more_than_a_batch_is_rescued_to_the_end(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.run(
        "insert into pgqueue.jobs (task, state, lease, attempt, worker_id) "
        "select 't', 'running', 1, 1, %s from generate_series(1, 1201)",
        worker,
    )
    [told] = bury_it(own, worker, started=[])
    assert isinstance(told, events.JobsRescued)
    assert told.count == 1201
    assert tables.run("select distinct state, attempt, lease from pgqueue.jobs") == [
        ("ready", 0, 2)
    ]


def test_a_second_burial_finds_nothing(own: Connection, other: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job("running", worker_id=worker)
    assert len(bury_it(own, worker, started=[])) == 1
    assert bury_it(other, worker, started=[]) == []


def test_a_job_that_a_finish_has_locked_is_left_to_the_finish(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    finishing, plain = (tables.job("running", worker_id=worker) for _ in range(2))
    other.autocommit = False
    values = {"id": finishing, "lease": 1, "result": None}
    store.execute(other, "finish_transactional", values)
    bury_it(own, worker, started=[])
    assert tables.row(plain)["state"] == "ready"
    other.commit()
    assert tables.row(finishing)["state"] == "succeeded"
    assert tables.row(finishing)["lease"] == 2


def test_a_finish_that_rolls_back_leaves_its_job_to_a_later_rescue(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    other.autocommit = False
    values = {"id": job_id, "lease": 1, "result": None}
    store.execute(other, "finish_transactional", values)
    bury_it(own, worker, started=[])
    other.rollback()
    assert tables.row(job_id)["state"] == "running"
    assert silent(own) == [worker]
    bury_it(own, worker)
    assert tables.row(job_id)["state"] == "ready"


def test_a_transactional_finish_waits_for_the_rescue_and_then_finds_its_lease_lost(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    values: dict[str, Any] = {
        "worker_id": worker,
        "worker": "w",
        "started": [job_id],
        "culprit": None,
        "intended": False,
        "crash_cap": 3,
    }
    with own.transaction():
        assert len(store.execute(own, "rescue", values).fetchall()) == 1
        finish = {"id": job_id, "lease": 1, "result": None}
        late = Background(lambda: store.run(other, SETTINGS, "finish_transactional", finish))
        tables.wait_for_lock("the finish")
    assert late.result() == []
    assert tables.row(job_id)["state"] == "ready"


def test_an_exchange_passes_over_a_job_that_is_being_rescued(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    tables.lock(other, job_id)
    assert exchange(own, worker, succeeded=[Succeeded(job_id, 1, None)]).recorded == []
    other.rollback()


def test_a_claim_that_commits_after_the_burial_is_found_as_an_orphan(
    own: Connection, other: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job()
    with other.transaction():
        values = {
            "worker_id": worker,
            "room": 1,
            "queues": ["default"],
            "priorities": [0],
            "floor_times": "{-infinity}",
            "floor_ids": [0],
            "caps": [1],
            "suspects": False,
        }
        assert len(store.execute(other, "claim", values).fetchall()) == 1
        assert bury_it(own, worker, started=[]) == []
    assert tables.row(job_id)["state"] == "running"
    assert silent(own) == [worker]
    assert len(bury_it(own, worker)) == 1
    assert claim(own, tables.worker(), lane())[0].id == job_id


def watcher(since: float | None, told: list[Event]) -> tuple[Heartbeat, Rescue]:
    """Somebody without workers, who has beaten without a gap since so many seconds ago."""
    rescue = Rescue(
        SETTINGS,
        Events(told.append),
        lambda: None if since is None else time.monotonic() - since,
    )
    beat = Heartbeat(SETTINGS, list, lambda *_: None, lambda _: None, lambda s: see(rescue, s))
    return beat, rescue


def see(rescue: Rescue, seen: Seen) -> None:
    rescue.see(seen.silent)


def test_it_looks_again_when_the_next_worker_can_be_dead(own: Connection, tables: Tables) -> None:
    beat, rescue = watcher(SETTINGS.ttl, [])
    assert EVERY - 1 < beat(own) <= EVERY
    tables.worker()
    assert EVERY - 1 < beat(own) <= EVERY
    dying = tables.worker(silent_for=SETTINGS.ttl - 0.5)
    assert SLACK < beat(own) <= 0.5 + SLACK
    tables.run("update pgqueue.workers set heartbeat_at = heartbeat_at - ttl where id = %s", dying)
    beat(own)
    assert rescue(own) == NEVER
    assert tables.run("select count(*) from pgqueue.workers") == [(1,)]


@pytest.mark.parametrize("ago", [None, SETTINGS.ttl - 1])
def test_who_beat_with_a_gap_buries_nobody(
    own: Connection, tables: Tables, ago: float | None
) -> None:
    silent_one = tables.worker(silent_for=60)
    beat, rescue = watcher(ago, [])
    beat(own)
    rescue(own)
    assert tables.run("select id from pgqueue.workers") == [(silent_one,)]


def test_one_that_cannot_be_buried_is_seen_again(
    own: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.worker(silent_for=60)
    beat, rescue = watcher(SETTINGS.ttl, [])
    beat(own)
    with monkeypatch.context() as patched:
        patched.setattr(rescue_step, "bury", _refuse)
        with pytest.raises(psycopg.OperationalError):
            rescue(own)
    assert rescue(own) == NEVER
    assert tables.run("select count(*) from pgqueue.workers") == [(1,)]
    beat(own)
    rescue(own)
    assert tables.run("select count(*) from pgqueue.workers") == [(0,)]


def _refuse(*_: object, **__: object) -> int:
    raise psycopg.OperationalError("gone")
