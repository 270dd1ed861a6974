"""What stands in `progress`: the last word of the attempt that holds the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueue import store
from tests.store.tables import SETTINGS, Tables

if TYPE_CHECKING:
    from pgqueue.connections import Connection


def say(own: Connection, *reports: tuple[Any, ...]) -> None:
    store.run(own, SETTINGS, "progress", {"reports": store.reports_document(reports)})


def kept(tables: Tables) -> list[tuple[Any, ...]]:
    return tables.run("select job_id, done, total, message from pgqueue.progress order by job_id")


def test_the_last_word_of_each_job_is_kept(own: Connection, tables: Tables) -> None:
    one = tables.job("running", worker_id=1, lease=3)
    two = tables.job("running", worker_id=1, lease=1)
    say(own, (two, 1, 1, 5, None, 'say "hé"'), (one, 3, 1, 0.5, 10, None))
    assert kept(tables) == [(one, 0.5, 10, None), (two, 5, None, 'say "hé"')]
    say(own, (one, 3, 2, 7, 10, "more"))
    assert kept(tables)[0] == (one, 7, 10, "more")


def test_nothing_older_replaces_it(own: Connection, tables: Tables) -> None:
    """Maintenance and the exchange write at the same time, in any order."""
    job_id = tables.job("running", worker_id=1, lease=3)
    say(own, (job_id, 3, 8, 8, None, None))
    say(own, (job_id, 3, 7, 7, None, None))
    assert kept(tables) == [(job_id, 8, None, None)]
    tables.run(f"update pgqueue.jobs set lease = 5 where id = {job_id} returning id")
    say(own, (job_id, 5, 1, 0, None, "the next attempt"))
    assert kept(tables) == [(job_id, 0, None, "the next attempt")]


def test_who_lost_the_lease_is_not_heard(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=4)
    say(own, (job_id, 3, 1, 1, None, None), (987_654, 1, 1, 1, None, None))
    assert kept(tables) == []


def test_the_last_word_may_come_after_the_end_but_not_after_a_retry(
    own: Connection, tables: Tables
) -> None:
    """Where a handler finishes its job in a transaction that the worker does not know."""
    ended = tables.job("succeeded", lease=4, finished_at="now")
    retried = tables.job("ready", lease=4)
    say(own, (ended, 3, 1, 1, None, None), (retried, 3, 1, 1, None, None))
    assert [row[0] for row in kept(tables)] == [ended]


def test_what_is_left_behind_is_swept(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=1)
    say(own, (job_id, 1, 1, 1, None, None))
    tables.run(
        "insert into pgqueue.progress (job_id, lease, sequence, done) "
        "values (987654, 1, 1, 1) returning 1"
    )
    tables.run(
        "insert into pgqueue.waiters values (1, now() - interval '1 s'), "
        "(2, now() + interval '1 hour') returning 1"
    )
    tables.run("insert into pgqueue.waits values (7, 1), (7, 2) returning 1")
    store.run(own, SETTINGS, "sweep_leftovers")
    assert [row[0] for row in kept(tables)] == [job_id]
    assert tables.run("select waiter_id from pgqueue.waits") == [(2,)]


def test_progress_is_deleted_with_its_job(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=1)
    say(own, (job_id, 1, 1, 1, None, None))
    store.run(own, SETTINGS, "operator_delete", {"ids": [job_id]})
    assert kept(tables) == []
