"""Inline mode: enqueue runs the job."""

from __future__ import annotations

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.testing import JobTester
from tests.testing.shop import Shop, declare, paid

Conn = psycopg.Connection


def test_an_enqueue_runs_its_job_and_those_that_it_enqueues_in_the_same_transaction(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    conn.execute("insert into orders values (7)")
    with jobs.inline():
        handle = shop.charge.using(conn).enqueue(order_id=7)
        assert paid(conn) == [7]
        assert shop.done == ["receipt 7"]
    assert jobs.job(handle).state == "succeeded"


def test_after_the_block_jobs_wait_again(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    with jobs.inline():
        shop.app.using(conn).enqueue(shop.note, "a")
    shop.note.using(conn).enqueue("b")
    assert shop.done == ["a"]
    assert vars(shop.app).keys() >= {"_producer"}
    assert "producer" not in vars(shop.app)


def test_many_jobs_run_in_their_order(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    with jobs.inline():
        handles = shop.app.using(conn).enqueue_many(shop.note.job(word) for word in "abc")
    assert shop.done == ["a", "b", "c"]
    assert [jobs.job(handle).result for handle in handles] == ["A", "B", "C"]


def test_only_the_tasks_that_were_named_run_at_once(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    with jobs.inline(shop.note):
        shop.note.using(conn).enqueue("a")
        shop.echo.using(conn).enqueue(1)
    assert shop.done == ["a"]
    jobs.assert_enqueued(shop.echo)


def test_a_delayed_job_and_one_whose_key_is_held_do_not_run(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn, key="k").enqueue("held")
    with jobs.inline():
        shop.note.using(conn, delay=60).enqueue("later")
        assert not shop.note.using(conn, key="k").enqueue("again").created
    assert shop.done == []


def test_a_handlers_error_comes_out_of_the_enqueue(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    with jobs.inline(), pytest.raises(ValueError, match="no luck"):
        shop.fail.using(conn).enqueue("no luck")
    with jobs.inline(raises=False):
        shop.fail.using(conn).enqueue("again")
    assert [job.attempt for job in jobs.enqueued(shop.fail)] == [1, 1]


def test_jobs_that_enqueue_each_other_for_ever_are_an_error_that_names_them(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    def again() -> None:
        task.using(conn).enqueue()

    task = shop.app.task(name="again", max_attempts=1)(again)
    with jobs.inline(), pytest.raises(AssertionError, match=r"again -> again.*drain"):
        task.using(conn).enqueue()


def test_run_job_and_drain_go_on_as_ever(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    shop.note.using(conn).enqueue("a")
    with jobs.inline():
        assert jobs.run_job(shop.note, "b").attempt == 1
        jobs.drain()
    assert shop.done == ["b", "a"]


def test_without_a_connection_jobs_run_on_the_apps_own(dsn: str, connection: Conn) -> None:
    connection.execute("create table orders (id bigint primary key, paid boolean default false)")
    connection.execute("insert into orders values (1)")
    with PgQueue(dsn) as app:
        shop = declare(app)
        with JobTester(app).inline():
            app.enqueue(shop.note, "a")
            shop.charge.enqueue(order_id=1)
    assert shop.done == ["a", "receipt 1"]
    assert paid(connection) == [1]
