"""What became of a lease: mine, ended by us and how, lost, or busy while nobody can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import store
from pgqueue.outcome import Succeeded, Unsuccessful
from tests.store.tables import SETTINGS, Tables, claim, exchange

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def verdict(connection: Connection, job_id: int, lease: int = 1) -> str:
    [(id_, of, said)] = store.settle(connection, SETTINGS, [(job_id, lease)])
    assert (id_, of) == (job_id, lease)
    return said


def test_a_lease_that_nobody_ended_is_mine(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1)
    assert verdict(own, job_id) == "mine"
    assert tables.row(job_id)["lease"] == 1


def test_a_success_is_recorded(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1)
    exchange(own, 0, succeeded=[Succeeded(job_id, 1, None)])
    assert verdict(own, job_id) == "succeeded"


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("ready", "retried"),
        ("dead", "dead"),
        ("cancelled", "cancelled"),
        ("expired", "expired"),
        ("ready", "interrupted"),
    ],
)
def test_every_end_that_left_an_attempt_is_recorded(
    own: Connection, tables: Tables, state: Any, ending: Any
) -> None:
    job_id = tables.job("running", worker_id=1)
    exchange(own, 0, unsuccessful=[Unsuccessful(job_id, 1, state, ending=ending)])
    assert verdict(own, job_id) == ("cancelled" if state == "cancelled" else "recorded")


def test_a_retried_job_that_was_claimed_again_is_still_recorded(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker)
    exchange(own, 0, unsuccessful=[Unsuccessful(job_id, 1, "ready", ending="retried")])
    assert len(claim(own, worker)) == 1
    assert verdict(own, job_id) == "recorded"
    assert verdict(own, job_id, lease=3) == "mine"


def test_a_rescued_job_is_lost_even_when_another_worker_succeeded(
    own: Connection, tables: Tables
) -> None:
    dead, alive = tables.worker(), tables.worker()
    job_id = tables.job("running", worker_id=dead)
    rescue(own, dead)
    assert verdict(own, job_id) == "lost"
    [job] = claim(own, alive)
    assert verdict(own, job_id) == "lost"
    exchange(own, 0, succeeded=[Succeeded(job_id, job.lease, None)])
    assert verdict(own, job_id) == "lost"
    assert verdict(own, job_id, job.lease) == "succeeded"


def test_a_job_that_a_rescue_ended_for_good_is_lost(own: Connection, tables: Tables) -> None:
    """Its own worker only looked dead, and has an outcome after all."""
    worker = tables.worker()
    poison = tables.job("running", worker_id=worker, crash_count=2)
    unwanted = tables.job("running", worker_id=worker, cancel_requested_at="now")
    rescue(own, worker, culprit=poison)
    assert [tables.row(id_)["state"] for id_ in (poison, unwanted)] == ["dead", "cancelled"]
    assert [verdict(own, id_) for id_ in (poison, unwanted)] == ["lost", "lost"]


def rescue(connection: Connection, worker_id: int, *, culprit: int | None = None) -> None:
    values = {
        "worker_id": worker_id,
        "worker": "w",
        "started": None,
        "culprit": culprit,
        "intended": False,
        "crash_cap": 3,
    }
    assert store.run(connection, SETTINGS, "rescue", values)


def test_a_job_that_is_not_there_is_gone(own: Connection) -> None:
    assert verdict(own, 12345) == "gone"


def test_a_commit_that_is_still_under_way_is_busy_and_then_what_it_became(
    own: Connection, other: Connection, tables: Tables
) -> None:
    committed, undone = (tables.job("running", worker_id=1) for _ in range(2))
    for job_id, keep in ((committed, True), (undone, False)):
        other.autocommit = False
        values = {"id": job_id, "lease": 1, "result": None}
        assert store.execute(other, "finish_transactional", values).fetchone() is not None
        assert verdict(own, job_id) == "busy"
        if keep:
            other.commit()
        else:
            other.rollback()
    assert verdict(own, committed) == "succeeded"
    assert verdict(own, undone) == "mine"


def test_a_row_that_is_only_locked_is_busy(
    own: Connection, other: Connection, tables: Tables
) -> None:
    job_id = tables.job("running", worker_id=1)
    tables.lock(other, job_id)
    assert verdict(own, job_id) == "busy"
    other.rollback()
    assert verdict(own, job_id) == "mine"


def test_many_leases_are_answered_at_once_each_for_itself(own: Connection, tables: Tables) -> None:
    mine = [tables.job("running", worker_id=1) for _ in range(3)]
    done = [tables.job("succeeded", lease=2) for _ in range(3)]
    keys = sorted([(id_, 1) for id_ in mine + done] + [(99999, 1)])
    said = {key[:2]: key[2] for key in store.settle(own, SETTINGS, keys)}
    assert said == {
        **{(id_, 1): "mine" for id_ in mine},
        **{(id_, 1): "succeeded" for id_ in done},
        (99999, 1): "gone",
    }
