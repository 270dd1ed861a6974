"""Prune deletes what is past its retention, part by part, and never what somebody has or needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import pruning, store
from pgqueue.pruning import BADLY, SWEEP, Measure, Walk
from pgqueue.retention import DAY
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.steps import prune
from pgqueue.worker.steps.prune import (
    IDLE,
    LEAST_LOOKING,
    LONGEST_IDLE,
    LOOKING,
    NAME,
    PASSING,
    Burst,
    Prune,
)
from tests.store.tables import SETTINGS, Background, Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.connections import Connection

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _known(own: Connection) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [NAME]})
    pruning.announce(own, SETTINGS, [])


@pytest.fixture
def ended(tables: Tables) -> Callable[..., int]:
    """Inserts a job that ended so many seconds ago; made then, or `made` seconds ago."""

    def insert(state: str, ago: float, *, made: float | None = None, **columns: Any) -> int:
        job_id = tables.job(state, lease=2, attempt=1, **columns)
        tables.run(
            "update pgqueue.jobs set finished_at = clock_timestamp() - make_interval(secs => %s), "
            "created_at = clock_timestamp() - make_interval(secs => %s) where id = %s",
            ago,
            ago if made is None else made,
            job_id,
        )
        return job_id

    return insert


def turn(connection: Connection, tables: Tables, step: Prune | None = None) -> float:
    """A turn of the step, whenever the last one was; no sweep rests."""
    tables.run(
        "update pgqueue.steps set ran_at = '2001-01-01', "
        "place = place - 'sweep rests until' - 'badly rests until'"
    )
    return (step or Prune(SETTINGS, Events()))(connection)


def left(tables: Tables) -> list[int]:
    return [id_ for (id_,) in tables.run("select id from pgqueue.jobs order by id")]


def place(tables: Tables) -> dict[str, Any]:
    [(found,)] = tables.run("select place from pgqueue.steps where name = 'prune'")
    return dict(found)


def say(tables: Tables, task: str, state: str, keep: str | None) -> None:
    tables.run(
        "insert into pgqueue.retention (task, state, keep) values (%s, %s, %s)"
        "on conflict (task, state) do update set keep = excluded.keep",
        task,
        state,
        keep,
    )


def test_each_state_is_kept_for_its_own_time(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    gone = [
        ended("succeeded", 1.1 * DAY),
        ended("cancelled", 7.1 * DAY),
        ended("expired", 7.1 * DAY),
    ]
    kept = [
        ended("succeeded", 0.9 * DAY),
        ended("cancelled", 6.9 * DAY),
        ended("expired", 6.9 * DAY),
        ended("dead", 1000 * DAY),
    ]
    assert turn(own, tables) == IDLE
    assert left(tables) == kept
    assert not set(kept) & set(gone)


def test_what_has_not_ended_is_never_deleted(own: Connection, tables: Tables) -> None:
    kept = [
        tables.job("ready"),
        tables.job("blocked"),
        tables.job("running", worker_id=1),
    ]
    tables.run("update pgqueue.jobs set created_at = '2001-01-01', finished_at = '2001-01-02'")
    turn(own, tables)
    assert left(tables) == kept


def test_a_task_has_times_of_its_own_and_one_may_be_for_ever(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    say(tables, "short", "succeeded", "1 hour")
    say(tables, "long", "succeeded", "30 days")
    say(tables, "ever", "succeeded", None)
    say(tables, "short", "dead", "1 hour")
    for task in ("short", "long", "ever", "plain"):
        ended("succeeded", 2 * HOUR, task=task)
        ended("succeeded", 2 * DAY, task=task)
    ended("succeeded", 40 * DAY, task="long")
    ended("succeeded", 40 * DAY, task="ever")
    ended("dead", 2 * HOUR, task="short")
    ended("dead", 2 * HOUR, task="plain")
    turn(own, tables)
    found = tables.run("select task, state, count(*) from pgqueue.jobs group by 1, 2 order by 1, 2")
    assert found == [
        ("ever", "succeeded", 3),
        ("long", "succeeded", 2),
        ("plain", "dead", 1),
        ("plain", "succeeded", 1),
    ]


def test_what_is_kept_for_ever_by_everybody_costs_no_walk(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    tables.run("update pgqueue.retention set keep = null")
    kept = ended("succeeded", 1000 * DAY)
    assert turn(own, tables) == IDLE
    assert left(tables) == [kept]
    assert tables.run("select place from pgqueue.steps where name = 'prune'") == [(None,)]


def test_attempts_and_keys_go_with_their_job_and_open_windows_stay(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    jobs = [ended("succeeded", 2 * DAY, key=key) for key in ("over", "open", "closed", "taken")]
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) "
        "select id, 1, 1, 'retried' from pgqueue.jobs"
    )
    for key, job_id, ends, until in (
        ("over", jobs[0], None, "finished"),
        ("open", jobs[1], "3000-01-01", None),
        ("closed", jobs[2], "2001-01-01", None),
        ("taken", 12345, None, "finished"),
    ):
        tables.run(
            "insert into pgqueue.idempotency_keys values ('t', %s, %s, %s, %s)",
            key,
            job_id,
            ends,
            until,
        )
    turn(own, tables)
    assert left(tables) == []
    assert tables.run("select from pgqueue.attempts") == []
    found = tables.run("select key from pgqueue.idempotency_keys order by key")
    assert found == [("open",), ("taken",)]


def test_a_front_stops_before_what_is_too_young_and_goes_on_there(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    old = [ended("succeeded", 2 * DAY) for _ in range(3)]
    young = [ended("succeeded", 0.5 * DAY) for _ in range(2)]
    turn(own, tables)
    assert place(tables)["86400"] == old[-1]
    tables.run(
        "update pgqueue.jobs set finished_at = finished_at - interval '1 day', "
        "created_at = created_at - interval '1 day' where id = %s",
        young[0],
    )
    turn(own, tables)
    assert place(tables)["86400"] == young[0]
    assert left(tables) == young[1:]


def test_what_ended_long_after_it_was_made_is_found_by_the_sweep(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    late = ended("succeeded", 0.5 * DAY, made=30 * DAY)
    turn(own, tables)
    assert left(tables) == [late]
    assert place(tables)["86400"] >= late
    tables.run("update pgqueue.jobs set finished_at = finished_at - interval '1 day'")
    turn(own, tables)
    assert left(tables) == []


def test_the_sweep_rests_and_then_begins_anew(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    late = ended("succeeded", 0.5 * DAY, made=30 * DAY)
    turn(own, tables)
    found = place(tables)
    assert found["sweep"] == 0
    tables.run("update pgqueue.jobs set finished_at = finished_at - interval '1 day'")
    tables.run("update pgqueue.steps set ran_at = '2001-01-01'")
    Prune(SETTINGS, Events())(own)
    assert left(tables) == [late]


def test_a_turn_ends_with_its_time_and_the_next_worker_goes_on_from_there(
    own: Connection,
    other: Connection,
    tables: Tables,
    ended: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prune, "BURST", 0.0)
    jobs = [ended("succeeded", 2 * DAY) for _ in range(5)]
    step = Prune(SETTINGS, Events())
    step._measure.size = 2
    assert turn(own, tables, step) < 1.0
    assert left(tables) == jobs[2:]
    assert place(tables)["86400"] == jobs[1]
    turn(other, tables)
    assert left(tables) == []


def test_it_looks_less_and_less_often_while_there_is_nothing_to_prune(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    step = Prune(SETTINGS, Events())
    pauses = [turn(own, tables, step) for _ in range(6)]
    assert pauses == [IDLE, 2 * IDLE, 4 * IDLE, 8 * IDLE, LONGEST_IDLE, LONGEST_IDLE]
    ended("succeeded", 2 * DAY)
    assert turn(own, tables, step) == step.every == IDLE
    assert left(tables) == []


def test_two_parts_at_once_wait_for_nobody_and_delete_each_job_once(
    own: Connection, other: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    jobs = [ended("succeeded", 2 * DAY) for _ in range(4)]
    walk = Walk("nobody's", DAY, 0)
    with other.transaction():
        first = part(other, walk, jobs[1])
        assert (first["seen"], first["gone"]) == (2, 2)
        second = part(own, walk, jobs[-1])
        assert (second["seen"], second["gone"]) == (4, 2)
    assert left(tables) == []


def part(connection: Connection, walk: Walk, until: int, **changes: Any) -> dict[str, Any]:
    """One part in the caller's transaction."""
    values = pruning.BY_RETENTION.values(walk, until, Measure())
    values |= {"name": "", "walk": walk.name} | changes
    row = store.execute(connection, "prune_part", values).fetchone()
    assert row is not None
    return dict(zip(pruning.Part._fields, row, strict=True))


def test_a_requeue_that_comes_first_keeps_its_job(
    own: Connection, other: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    """Its transaction is open while prune looks: prune passes by, and meets a ready job later."""
    job_id = ended("cancelled", 8 * DAY)
    with other.transaction():
        store.execute(other, "operator_lock_jobs", {"ids": [job_id]})
        turn(own, tables)
        store.execute(other, "operator_requeue", {"ids": [job_id], "actor": None, "spread": 0})
    turn(own, tables)
    assert tables.row(job_id)["state"] == "ready"


def test_a_requeue_between_the_look_and_the_lock_keeps_its_job(
    own: Connection, other: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    """The part has read the job as cancelled; by the time it locks it, its lease has moved."""
    job_id = ended("cancelled", 8 * DAY)
    # Who looks a retention up, after the jobs were read, waits for the rival.
    tables.run("alter table pgqueue.retention rename to retentions")
    tables.run(
        "create view pgqueue.retention as select retentions.* from pgqueue.retentions, "
        "lateral (select pg_advisory_xact_lock(length(task)) offset 0) as held"
    )
    with other.transaction():
        other.execute("select pg_advisory_xact_lock(1)")
        pruned = Background(lambda: part(own, Walk("nobody's", DAY, 0), job_id))
        tables.wait_for_lock("the part")
        store.execute(other, "operator_requeue", {"ids": [job_id], "actor": None, "spread": 0})
    found = pruned.result()
    assert (found["seen"], found["gone"]) == (1, 0)
    assert tables.row(job_id)["state"] == "ready"


def test_a_requeue_that_comes_second_finds_no_job(
    own: Connection, other: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    job_id = ended("cancelled", 8 * DAY)
    with other.transaction():
        assert part(other, Walk("nobody's", DAY, 0), job_id)["gone"] == 1
        waiting = Background(
            lambda: store.run(own, SETTINGS, "operator_lock_jobs", {"ids": [job_id]})
        )
        tables.wait_for_lock("the requeue")
    assert waiting.result() == []


def test_a_key_that_an_enqueue_has_is_left_to_the_sweep_of_keys(
    own: Connection, other: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    job_id = ended("succeeded", 2 * DAY, key="k")
    tables.run("insert into pgqueue.idempotency_keys values ('t', 'k', %s)", job_id)
    with other.transaction():
        other.execute("select from pgqueue.idempotency_keys for update")
        turn(own, tables)
        assert left(tables) == []
    assert tables.run("select key from pgqueue.idempotency_keys") == [("k",)]


def test_it_says_when_it_is_behind_once_for_a_while(
    own: Connection, tables: Tables, ended: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BURST", 0.0)
    monkeypatch.setattr(prune, "BEHIND_FOR", 0.0)
    told: list[Event] = []
    step = Prune(SETTINGS, Events(told.append))
    step._measure.size = 1
    for _ in range(4):
        ended("succeeded", 3 * DAY)
    for _ in range(2):
        tables.run("update pgqueue.steps set ran_at = '2001-01-01'")
        step._measure.size = 1
        assert step(own) < IDLE
    [behind] = told
    assert isinstance(behind, events.PruneBehind)
    assert 1.9 * DAY < behind.overdue < 2 * DAY
    assert 1.9 * DAY < place(tables)["overdue"] < 2 * DAY
    monkeypatch.setattr(prune, "BURST", 1.0)
    assert turn(own, tables, step) == IDLE
    assert place(tables)["overdue"] == 0


def test_a_job_from_the_future_holds_nothing_up(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    future = ended("succeeded", -400 * DAY)
    ended("succeeded", 2 * DAY)
    turn(own, tables)
    assert left(tables) == [future]


def test_a_part_of_ids_that_are_gone_is_passed_and_not_searched(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    tables.run("select setval('pgqueue.jobs_id_seq', 1000000000)")
    last = ended("succeeded", 2 * DAY)
    assert last > 10**9
    for _ in range(20):
        if turn(own, tables) == IDLE:
            break
    assert left(tables) == []
    assert place(tables)["86400"] == last


def test_a_front_that_nobody_has_begins_at_the_first_job(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    ended("succeeded", 2 * HOUR)
    turn(own, tables)
    say(tables, "t", "succeeded", "1 hour")
    turn(own, tables)
    assert left(tables) == []


def test_the_walks_are_named_by_their_time(own: Connection) -> None:
    found = pruning.table(own, SETTINGS)
    assert found.fronts() == [Walk("86400", DAY + 600, 0)]
    assert found.sweeps() == [Walk(BADLY, DAY, 0, badly=True), Walk(SWEEP, DAY + 600, 0)]


def test_successes_that_are_kept_for_ever_are_never_looked_at(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    say(tables, "*", "succeeded", None)
    found = pruning.table(own, SETTINGS)
    assert found.fronts() == []
    [walk] = found.sweeps()
    kept = [ended("succeeded", 30 * DAY) for _ in range(3)]
    ended("cancelled", 30 * DAY)
    kept.append(ended("dead", 30 * DAY))
    assert part(own, walk, kept[-1])["seen"] == 2
    assert left(tables) == kept


def test_what_ended_badly_long_after_it_was_made_goes_while_the_other_sweep_rests(
    own: Connection, tables: Tables, ended: Callable[..., int]
) -> None:
    kept = ended("succeeded", 0.5 * DAY, made=30 * DAY)
    ended("expired", 6.5 * DAY, made=30 * DAY)
    turn(own, tables)
    tables.run("update pgqueue.jobs set finished_at = finished_at - interval '1 day'")
    tables.run(
        "update pgqueue.steps set ran_at = '2001-01-01', place = place - 'badly rests until'"
    )
    assert Prune(SETTINGS, Events())(own) == IDLE
    assert left(tables) == [kept]
    assert place(tables)["badly"] == 0


def test_looking_costs_a_fiftieth_of_the_time_and_deleting_a_half(
    own: Connection, tables: Tables, ended: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BURST", 0.0)
    monkeypatch.setattr(Burst, "spent", 0.125)
    for _ in range(5):
        ended("dead", 30 * DAY)
    say(tables, "*", "succeeded", None)
    step = Prune(SETTINGS, Events())
    step._measure.size = 2
    assert turn(own, tables, step) == LOOKING * 0.125
    say(tables, "*", "dead", "1 day")
    step._measure.size = 2
    assert turn(own, tables, step) == 0.125
    assert len(left(tables)) == 3


def test_a_front_that_passes_jobs_that_stay_takes_a_fifth_of_the_time(
    own: Connection, tables: Tables, ended: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old they are: nothing of that is overdue."""
    monkeypatch.setattr(prune, "BURST", 0.0)
    monkeypatch.setattr(Burst, "spent", 0.125)
    for _ in range(5):
        ended("dead", 30 * DAY)
    tables.run("update pgqueue.retention set keep = null where state <> 'succeeded'")
    step = Prune(SETTINGS, Events())
    step._measure.size = 2
    assert turn(own, tables, step) == PASSING * 0.125


def test_a_sweep_that_would_take_days_looks_more_of_the_time() -> None:
    burst = Burst()
    burst.began -= 0.1
    burst.passed = 1000
    assert burst.looking(1_000_000) == LOOKING
    assert LEAST_LOOKING < burst.looking(10_000_000) < LOOKING
    assert burst.looking(10**9) == LEAST_LOOKING
