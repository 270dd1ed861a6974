"""assert_enqueued(), refute_enqueued(), enqueued(), and what they say when they fail."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.errors import InvalidPayload, JobNotFound
from pgqueue.testing import JobTester
from tests.testing.shop import Shop

Conn = psycopg.Connection


def test_a_job_is_found_by_the_arguments_and_options_that_are_given(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    day = date(2026, 11, 22)
    shop.note.using(conn, queue="mail", key="k", priority=3, delay=60).enqueue("a", day=day)
    jobs.assert_enqueued(shop.note)
    jobs.assert_enqueued(shop.note, "a")
    jobs.assert_enqueued(shop.note, day=day)
    [job] = jobs.assert_enqueued(
        shop.note, "a", day=day, queue="mail", key="k", priority=3, delay=timedelta(minutes=1)
    )
    assert job.args == {"word": "a", "day": day}
    for other in ({"word": "b"}, {"queue": "x"}, {"key": "x"}, {"priority": 0}, {"delay": 90}):
        jobs.refute_enqueued(shop.note, **other)
    jobs.refute_enqueued(shop.anote)


def test_a_default_of_the_handler_counts_as_given(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    shop.charge.using(conn).enqueue(order_id=1)
    jobs.assert_enqueued(shop.charge, 1, fails=False)
    jobs.refute_enqueued(shop.charge, fails=True)


def test_a_failure_shows_what_is_there_nearest_first(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.echo.using(conn).enqueue(value=1)
    shop.note.using(conn).enqueue(word="b", day=date(2026, 1, 1))
    shop.note.using(conn, queue="mail", priority=2).enqueue(word="a")
    with pytest.raises(AssertionError) as raised:
        jobs.assert_enqueued(shop.note, "a", queue="default")
    first, *rest = str(raised.value).splitlines()
    assert first == (
        "expected a job like shop.note(word='a'), queue 'default'; found none. "
        "There are, nearest first:"
    )
    assert [line.partition(" - ")[2] for line in rest] == [
        "word is 'b'",
        "queue is 'mail'",
        "the task is shop.echo",
    ]
    assert "shop.note(word='a'): job" in rest[1]
    assert "ready in queue 'mail', priority 2" in rest[1]


def test_a_failure_among_no_jobs_says_so(jobs: JobTester, shop: Shop) -> None:
    with pytest.raises(AssertionError, match=r"found none\. There are no jobs"):
        jobs.assert_enqueued(shop.note)


def test_the_number_of_jobs_can_be_asked_for(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    for word in "ab":
        shop.note.using(conn).enqueue(word)
    jobs.assert_enqueued(shop.note, count=2)
    with pytest.raises(AssertionError, match=r"expected 1 of shop\.note\(\.\.\.\); found 2"):
        jobs.assert_enqueued(shop.note, count=1)
    with pytest.raises(AssertionError, match=r"expected no job like shop\.note\(word='a'\)"):
        jobs.refute_enqueued(shop.note, "a")


def test_a_job_that_has_run_is_not_enqueued_any_more_and_the_failure_shows_it(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn).enqueue("a")
    jobs.drain()
    jobs.assert_enqueued(shop.note, states=["succeeded"])
    with pytest.raises(AssertionError, match="succeeded in queue 'default' - matches"):
        jobs.assert_enqueued(shop.note, "a")


def test_arguments_that_no_job_could_have_are_errors(jobs: JobTester, shop: Shop) -> None:
    with pytest.raises(TypeError, match=r"shop\.note: got an unexpected keyword argument 'wrod'"):
        jobs.assert_enqueued(shop.note, wrod="a")
    with pytest.raises(InvalidPayload, match=r"args\.day: 'soon' is refused"):
        jobs.refute_enqueued(shop.note, day="soon")


def test_arguments_with_the_names_of_options_go_into_args(jobs: JobTester, conn: Conn) -> None:
    def send(queue: str, args: int) -> None: ...

    task = jobs.app.task(name="send")(send)
    task.using(conn).enqueue(queue="mine", args=1)
    jobs.assert_enqueued(task, args={"queue": "mine", "args": 1}, queue="default")
    jobs.refute_enqueued(task, args={"queue": "other"})


def test_types_are_compared_as_the_handler_gets_them(jobs: JobTester, conn: Conn) -> None:
    def pay(amount: Decimal, flags: Any, paid: bool) -> None: ...

    task = jobs.app.task(name="pay")(pay)
    task.using(conn).enqueue(Decimal("1.50"), flags=(1, 2), paid=True)
    jobs.assert_enqueued(task, Decimal("1.5"), flags=(1, 2), paid=True)
    jobs.refute_enqueued(task, flags=[1])


def test_what_is_redacted_is_not_shown(jobs: JobTester, conn: Conn) -> None:
    def login(token: str, name: str) -> None: ...

    task = jobs.app.task(name="login", redact={"token"})(login)
    task.using(conn).enqueue(token="s3cret", name="ann")
    with pytest.raises(AssertionError) as raised:
        jobs.assert_enqueued(task, token="gu3ss", name="ben")
    assert "s3cret" not in str(raised.value)
    assert "gu3ss" not in str(raised.value)
    assert "token is ***; name is 'ann'" in str(raised.value)


def test_a_job_can_be_looked_at_by_its_handle(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    handle = shop.note.using(conn, meta={"trace": "t"}).enqueue("a")
    job = jobs.job(handle)
    assert (job.task, job.state, job.meta, job.delay) == ("shop.note", "ready", {"trace": "t"}, 0)
    with pytest.raises(JobNotFound, match="sees no job 0"):
        jobs.job(0)


def test_jobs_of_strangers_are_shown_as_they_are_stored(shop: Shop, conn: Conn) -> None:
    shop.note.using(conn).enqueue("a", day=date(2026, 1, 1))
    [job] = JobTester(PgQueue(), conn).enqueued()
    assert job.args == {"word": "a", "day": "2026-01-01"}
