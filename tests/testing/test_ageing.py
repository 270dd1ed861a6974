"""age(): time passes without a sleep."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgqueue.schema import metadata
from pgqueue.testing import JobTester
from tests.testing.shop import Shop

Conn = psycopg.Connection


def test_delayed_jobs_come_due(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    shop.note.using(conn, delay=3600).enqueue("a")
    jobs.age(timedelta(minutes=59))
    assert len(jobs.drain()) == 0
    jobs.age(61)
    assert len(jobs.drain()) == 1


def test_only_the_jobs_that_were_named_grow_older(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    first, second, third = (shop.note.using(conn, delay=60).enqueue(word) for word in "abc")
    jobs.age(60, jobs=second)
    jobs.drain()
    jobs.age(60, jobs=[first.id])
    jobs.drain()
    assert shop.done == ["b", "a"]
    assert jobs.job(third).state == "ready"


def test_the_window_of_a_key_ends(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    bound = shop.note.using(conn, key="k", unique_for=60)
    assert bound.enqueue("a").created
    jobs.drain()
    assert not bound.enqueue("a").created
    jobs.age(61)
    assert bound.enqueue("a").created


def test_what_has_no_time_gets_none(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    job = shop.note.using(conn).enqueue("a")
    jobs.age(1)
    assert jobs.job(job).expires_at is None


def test_no_time_moves_to_where_the_tables_allow_none(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn).enqueue("a")
    jobs.age(timedelta(days=365 * 1000))
    assert len(jobs.drain()) == 1


def test_every_table_with_times_is_known_to_age(jobs: JobTester, conn: Conn) -> None:
    """An insert into each table fails the day that a new one is not covered."""
    before = "clock_timestamp()"
    columns = [
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if str(column.type) == "DATETIME" or "TIME" in str(column.type).upper()
        if table.name != "workers"
    ]
    assert ("jobs", "run_at") in columns
    conn.execute(f"insert into pgqueue.steps values ('s', {before})".encode())
    conn.execute(f"insert into pgqueue.lanes values ('q', 0, {before}, 1)".encode())
    jobs.age(86400)
    for table in ("steps", "lanes"):
        times = [name for owner, name in columns if owner == table]
        query = f"select count(*) from pgqueue.{table} where {times[0]} > now() - interval '1 hour'"
        assert conn.execute(query.encode()).fetchone() == (0,)


@pytest.mark.parametrize("span", [-1, float("nan"), float("inf"), "1", True])
def test_a_span_that_is_none_is_refused_before_any_sql(jobs: JobTester, span: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"age\("):
        jobs.age(span)
