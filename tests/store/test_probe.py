"""The probe publishes the true head of every lane with due jobs, and only what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueue import store
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.steps.expire import Expire
from tests.sleeping import fall_asleep
from tests.store.tables import SETTINGS, Background, Tables, claim, look, probe, turns

if TYPE_CHECKING:
    from pgqueue.connections import Connection


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
    [head] = tables.run("select head_at from pgqueue.lanes")
    assert head == (tables.row(oldest)["run_at"],)


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


def test_one_probes_for_all_and_each_reads_the_heads_of_its_own_queues(
    own: Connection, other: Connection, tables: Tables
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["probe"]})
    mine, theirs = tables.job(queue="a"), tables.job(queue="b", priority=7)
    assert heads(look(own, ["a"], probe=60)) == [("a", 0, mine)]
    tables.job(queue="b", due_for=3600)
    # The second one's turn has not come: nothing is probed again.
    assert heads(look(other, ["b", "c"], probe=60)) == [("b", 7, theirs)]
    assert published(tables) == {("a", 0): mine, ("b", 7): theirs}


def heads(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(row[1:4] for row in rows if row[0] == "head")


def seconds(rows: list[tuple[Any, ...]], kind: str) -> float | None:
    return next((float(row[4]) for row in rows if row[0] == kind and row[4] is not None), None)


def test_who_probes_hears_when_the_next_job_is_due(own: Connection, tables: Tables) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["probe"]})
    tables.job(queue="a")
    assert seconds(look(own, probe=0), "next") is None
    tables.job(queue="b", due_for=-500)
    tables.job(queue="c", due_for=-100)
    assert 90 < (seconds(look(own, probe=0), "next") or 0) <= 100
    assert seconds(look(own, probe=60), "next") is None


def test_who_does_not_probe_hears_how_old_the_last_probe_is(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """One that takes long holds its turn: to all others, the last one grows old."""
    assert seconds(look(own, probe=60), "probed") is None
    store.run(own, SETTINGS, "add_steps", {"names": ["probe"]})
    assert seconds(look(own, probe=60), "probed") == 0
    tables.run("update pgqueue.steps set ran_at = ran_at - interval '10 s'")
    assert 10 <= (seconds(look(own, probe=60), "probed") or 0) < 60
    tables.run("update pgqueue.steps set ran_at = ran_at - interval '1 h'")
    with other.transaction():
        other.execute("select from pgqueue.steps for update")
        assert (seconds(look(own, probe=60), "probed") or 0) > 3600


def test_who_sleeps_is_notified_of_each_new_head(own: Connection, tables: Tables) -> None:
    fall_asleep(tables.connection, "a", 1)
    own.execute('listen "pgqueue.a"; listen "pgqueue.b"')
    tables.job(queue="a", priority=-5)
    tables.job(queue="b")
    probe(own)
    assert told(own) == [("pgqueue.a", "-5")]
    probe(own)
    assert told(own) == []
    tables.job(queue="a", priority=-5, due_for=3600)
    probe(own)
    assert told(own) == [("pgqueue.a", "-5")]


def told(connection: Connection) -> list[tuple[str, str]]:
    connection.execute("select 1")  # what ends a pipeline is read with the next answer
    return [(heard.channel, heard.payload) for heard in connection.notifies(timeout=0)]


def test_a_slow_probe_never_meets_the_next(
    own: Connection, other: Connection, tables: Tables
) -> None:
    """While one waits for a row of `lanes`, it has the turn, whatever pause another asks for."""
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


def test_it_is_nobodys_turn_to_expire_while_nothing_has(own: Connection, tables: Tables) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": ["expire"]})
    tables.job(expires_at="2990-01-01")
    tables.job("dead", expires_at="2024-01-01")
    assert turns(own, expire=0) == []
    tables.job(expires_at="2024-01-01")
    assert turns(own, expire=0) == ["expire"]
