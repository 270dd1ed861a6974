"""Floors: what a claim need not walk again, and what it must see in spite of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.store.tables import Tables, claim, exchange, ids, lane

if TYPE_CHECKING:
    from datetime import datetime

    from pgqueue.connections import Connection

SECOND = timedelta(seconds=1)


def floor_at(tables: Tables, job_id: int) -> tuple[datetime, int]:
    return tables.row(job_id)["run_at"], job_id


def test_without_a_floor_a_lane_is_seen_from_its_beginning(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    job_id = tables.job(due_for=800 * 24 * 3600)
    assert ids(claim(own, worker)) == [job_id]


def test_a_floor_is_a_pair_so_that_a_bulk_of_one_time_is_not_passed_over(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    first, second, third = tables.jobs(3)
    assert ids(claim(own, worker, lane(floor=floor_at(tables, first)))) == [second, third]


def test_the_floors_own_job_and_what_is_below_are_hidden(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    tables.job(due_for=100)
    at_floor = tables.job(due_for=50)
    assert claim(own, worker, lane(floor=floor_at(tables, at_floor))) == []


def test_a_bulk_of_one_time_is_claimed_to_its_end_in_batches(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    expected = set(tables.jobs(25))
    got: list[int] = []
    floor = None
    while batch := exchange(own, worker, lane(floor=floor, cap=4), room=4).claimed:
        floor = max((job.due_at, job.id) for job in batch)
        got += [job.id for job in batch]
    assert len(got) == 25
    assert set(got) == expected


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "Europe/Berlin", "UTC"])
def test_a_floor_goes_out_exactly_as_it_came_in_whatever_the_time_zone(
    own: Connection, tables: Tables, zone: str
) -> None:
    worker = tables.worker()
    # The second of two equal hours, when Berlin puts its clocks back.
    run_at = "2024-10-27 01:30:00.000001+00"
    jobs = [tables.job() for _ in range(3)]
    tables.run("update pgqueue.jobs set run_at = %s where id = any (%s)", run_at, jobs[:2])
    tables.run("update pgqueue.jobs set run_at = %s where id = %s", run_at[:-4] + "2+00", jobs[2])
    own.execute("select set_config('timezone', %s, false)", [zone])
    [first] = exchange(own, worker, lane(cap=1), room=1).claimed
    assert first.id == jobs[0]
    assert ids(claim(own, worker, lane(floor=(first.due_at, first.id)))) == jobs[1:]


def test_within_the_last_second_commits_out_of_order_are_seen(
    own: Connection, tables: Tables
) -> None:
    """A job with an earlier run_at and a smaller id may become visible after later ones."""
    worker = tables.worker()
    late, early = tables.job("blocked", due_for=0.6), tables.job(due_for=0.3)
    [job] = exchange(own, worker, room=10).claimed
    assert job.id == early
    tables.run("update pgqueue.jobs set state = 'ready' where id = %s", late)
    assert ids(claim(own, worker, lane(floor=(job.due_at, early)))) == [late]


def test_older_than_a_second_the_same_is_left_to_the_probe(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    late, early = tables.job("blocked", due_for=0.6), tables.job(due_for=0.3)
    [job] = exchange(own, worker, room=10).claimed
    tables.run("update pgqueue.jobs set state = 'ready' where id = %s", late)
    tables.age(5)
    assert claim(own, worker, lane(floor=(job.due_at - 5 * SECOND, early))) == []
    # What the probe then does: it brings the floor down to just before the head.
    head = tables.row(late)["run_at"], late - 1
    assert ids(claim(own, worker, lane(floor=head))) == [late]


def test_a_floor_in_the_future_hides_nothing_of_the_last_second(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job(due_for=0)
    far = tables.row(job_id)["run_at"] + 3600 * SECOND
    assert ids(claim(own, worker, lane(floor=(far, 10**9)))) == [job_id]


def test_lanes_have_floors_of_their_own(own: Connection, tables: Tables) -> None:
    worker = tables.worker()
    low = tables.job(queue="a", due_for=100)
    high = tables.job(queue="b", due_for=50)
    floor = floor_at(tables, high)
    lanes = [lane("a"), lane("b", floor=floor)]
    assert ids(claim(own, worker, *lanes)) == [low]
