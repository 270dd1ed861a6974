"""The probe publishes the true head of every lane with due jobs, and only what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueue import store
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.steps.expire import NAME as EXPIRE, Expire
from pgqueue.worker.steps.probe import NAME, Probe
from tests.store.tables import SETTINGS, Background, Tables, claim

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def probe(connection: Connection) -> None:
    store.run(connection, SETTINGS, "probe")


def published(tables: Tables) -> dict[tuple[str, int], int]:
    rows = tables.run("select queue, priority, head_id from pgqueue.lanes")
    return {(queue, priority): head for queue, priority, head in rows}


def versions(tables: Tables) -> list[tuple[Any, ...]]:
    return tables.run("select queue, priority, xmin::text from pgqueue.lanes order by 1, 2")


def test_without_jobs_there_are_no_lanes(own: Connection, tables: Tables) -> None:
    tables.job("running", worker_id=1)
    tables.job("dead")
    probe(own)
    assert published(tables) == {}


def test_the_head_of_a_lane_is_its_oldest_due_job(own: Connection, tables: Tables) -> None:
    tables.job(due_for=5)
    oldest, _ = tables.jobs(2, due_for=10)
    tables.job(due_for=-60)
    probe(own)
    assert published(tables) == {("default", 0): oldest}
    [(queue, priority, head_at, head_id)] = store.run(
        own, SETTINGS, "lanes", {"queues": ["default", "none"]}
    )
    assert (queue, priority, head_id) == ("default", 0, oldest)
    assert head_at == tables.row(oldest)["run_at"]


def test_every_lane_of_every_queue_is_found(own: Connection, tables: Tables) -> None:
    expected = {}
    for queue in ("B", "a", "a b", "default", "z", "é", "\U0001f600"):
        for priority in (-100, -1, 0, 1, 100):
            expected[queue, priority] = tables.job(queue=queue, priority=priority, due_for=9)
            tables.job(queue=queue, priority=priority, due_for=1)
    probe(own)
    assert published(tables) == expected


def test_a_lane_with_only_future_jobs_is_not_published(own: Connection, tables: Tables) -> None:
    tables.job(queue="a", due_for=-60)
    due = tables.job(queue="b")
    probe(own)
    assert published(tables) == {("b", 0): due}


def test_a_lane_that_ran_empty_is_taken_back(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job()
    tables.job(priority=5)
    probe(own)
    assert len(published(tables)) == 2
    claim(own, worker)
    probe(own)
    assert list(published(tables)) == [("default", 5)]


def test_what_did_not_change_is_not_written(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.jobs(2)
    tables.job(queue="other")
    probe(own)
    before = versions(tables)
    probe(own)
    assert versions(tables) == before
    claim(own, worker)
    tables.job()
    probe(own)
    after = versions(tables)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_locked_head_is_published_too(own: Connection, other: Connection, tables: Tables) -> None:
    job_id = tables.job()
    tables.lock(other, job_id)
    probe(own)
    assert published(tables) == {("default", 0): job_id}
    other.rollback()


def test_a_job_is_published_when_its_transaction_commits(
    own: Connection, other: Connection, tables: Tables
) -> None:
    other.autocommit = False
    other.execute("insert into pgqueue.jobs (task) values ('t')")
    probe(own)
    assert published(tables) == {}
    other.commit()
    probe(own)
    assert len(published(tables)) == 1


def test_the_step_probes_once_for_all_and_tells_each_its_own_queues(
    own: Connection, other: Connection, tables: Tables
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [NAME]})
    mine, theirs = tables.job(queue="a"), tables.job(queue="b")
    told: list[tuple[str, int]] = []
    Probe(SETTINGS, ["a"], lambda heads: told.extend((x[0], x[3]) for x in heads))(own)
    tables.job(queue="a", due_for=3600)
    Probe(SETTINGS, ["b"], lambda heads: told.extend((x[0], x[3]) for x in heads))(other)
    assert told == [("a", mine), ("b", theirs)]
    # The second one's turn had not come: nothing was probed again.
    assert published(tables) == {("a", 0): mine, ("b", 0): theirs}


def test_a_slow_probe_never_meets_the_next(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """While one waits for a row of `lanes`, another one finds nothing to do."""
    gone = tables.job()
    probe(own)
    claim(own, tables.worker())
    new = tables.job(queue="new")
    with other.transaction():
        other.execute("select from pgqueue.lanes for update")
        slow = Background(lambda: probe(own))
        tables.wait_for_lock("the probe")
        probe(tables.connection)
        assert published(tables) == {("default", 0): gone}
    slow.result()
    assert published(tables) == {("new", 0): new}


def test_what_nobody_started_in_time_is_expired_and_told(own: Connection, tables: Tables) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [EXPIRE]})
    late = tables.job(expires_at="2024-01-01")
    early = tables.job(expires_at="2990-01-01")
    never = tables.job()
    running = tables.job("running", worker_id=1, expires_at="2024-01-01")
    told: list[Event] = []
    Expire(SETTINGS, Events(told.append))(own)
    states = [tables.row(id_)["state"] for id_ in (late, early, never, running)]
    assert states == ["expired", "ready", "ready", "running"]
    assert tables.row(late)["finished_at"] is not None
    assert told == [events.JobsExpired(1, (late,))]


def test_a_locked_job_does_not_hold_up_the_others_that_expired(
    own: Connection, other: Connection, tables: Tables
) -> None:
    locked, free = (tables.job(expires_at="2024-01-01") for _ in range(2))
    tables.lock(other, locked)
    assert [id_ for id_, _ in store.run(own, SETTINGS, "expire")] == [free]
    other.rollback()
    assert [id_ for id_, _ in store.run(own, SETTINGS, "expire")] == [locked]
