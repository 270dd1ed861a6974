"""The sweep removes effects whose time is over, abandoned claims, and checkpoints of no job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import store
from pgqueue.worker.steps import effects
from pgqueue.worker.steps.effects import NAME, SweepEffects
from tests.store.tables import SETTINGS, Tables

if TYPE_CHECKING:
    from pgqueue.connections import Connection

OLD = "2001-01-01"


@pytest.fixture(autouse=True)
def _known(own: Connection) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [NAME]})


def sweep(connection: Connection, tables: Tables) -> None:
    """A turn of the step, whenever the last one was."""
    tables.run("update pgqueue.steps set ran_at = '2001-01-01' where name = %s", NAME)
    SweepEffects(SETTINGS)(connection)


def effect(tables: Tables, key: str, job_id: int = 0, **columns: Any) -> None:
    values = {"scope": "s", "key": key, "job_id": job_id, "lease": 1, **columns}
    marks = ", ".join(["%s"] * len(values))
    tables.run(
        f"insert into pgqueue.effects ({', '.join(values)}) values ({marks})", *values.values()
    )


def test_what_is_over_or_was_left_behind_goes_and_the_rest_stays(
    own: Connection, tables: Tables
) -> None:
    running = tables.job("running", worker_id=1, lease=1)
    effect(tables, "done", finished_at="now")
    effect(tables, "done, not over", finished_at="now", expires_at="2999-01-01")
    effect(tables, "done, over", finished_at="now", expires_at=OLD)
    effect(tables, "begun of late")
    effect(tables, "begun long ago, held", running, claimed_at=OLD)
    effect(tables, "begun long ago, left", running, claimed_at=OLD, lease=0)
    effect(tables, "begun long ago, no job", claimed_at=OLD)
    sweep(own, tables)
    left = tables.run("select key from pgqueue.effects order by key")
    assert [key for (key,) in left] == [
        "begun long ago, held",
        "begun of late",
        "done",
        "done, not over",
    ]


def test_it_goes_on_while_there_is_more_and_waits_for_nobody(
    own: Connection, other: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PART", 2)
    for number in range(7):
        effect(tables, f"k{number}", finished_at="now", expires_at=OLD)
    with other.transaction():
        other.execute("select from pgqueue.effects where key = 'k0' for update")
        sweep(own, tables)
        assert tables.run("select key from pgqueue.effects") == [("k0",)]
    sweep(own, tables)
    assert tables.run("select key from pgqueue.effects") == []


def test_checkpoints_go_with_their_jobs_however_those_went(
    own: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PART", 2)
    jobs = tables.jobs(6, "succeeded")
    for job in jobs:
        for name in "abc":
            tables.run("insert into pgqueue.checkpoints values (%s, %s, 1)", job, name)
    tables.run("delete from pgqueue.jobs where id = any (%s)", jobs[::2])
    sweep(own, tables)
    left = tables.run("select distinct job_id from pgqueue.checkpoints order by 1")
    assert [job for (job,) in left] == jobs[1::2]
    tables.run("delete from pgqueue.jobs")
    sweep(own, tables)
    assert tables.run("select job_id from pgqueue.checkpoints") == []


def test_a_turn_walks_a_bounded_part_and_the_next_goes_on_there(
    own: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PART", 2)
    monkeypatch.setattr(effects, "PARTS", 1)
    for job in range(1, 6):
        tables.run("insert into pgqueue.checkpoints values (%s, 'a', 1)", job)
    found = []
    for _ in range(4):
        sweep(own, tables)
        found.append(len(tables.run("select job_id from pgqueue.checkpoints")))
    assert found == [3, 1, 0, 0]
