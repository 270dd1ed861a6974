"""Hooks are called as a drain records what they are about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.errors import Cancel, Dead, Snooze
from pgqueue.retry import fixed
from pgqueue.testing import JobTester
from tests.testing.test_hosts import ASYNC

if TYPE_CHECKING:
    from pgqueue.hooks import JobEvent
    from tests.testing.shop import Shop

Conn = psycopg.Connection
MOMENTS = ("start", "success", "retry", "dead", "cancelled", "expired")


@pytest.fixture
def told(shop: Shop) -> list[JobEvent]:
    """All that the hooks of the shop's app are told."""
    events: list[JobEvent] = []
    for moment in MOMENTS:
        getattr(shop.app, f"on_{moment}")(events.append)
    return events


def test_each_outcome_is_told_once_after_it_is_recorded(
    jobs: JobTester, shop: Shop, told: list[JobEvent], conn: Conn
) -> None:
    @shop.app.task(name="ends", max_attempts=2, retry=fixed(30), redact={"secret"})
    def ends(how: str, secret: str) -> str:
        words = {"cancel": Cancel(), "dead": Dead("no"), "snooze": Snooze(5)}
        assert secret == "s"
        if how in words:
            raise words[how]
        if how == "fail":
            raise ValueError("twice")
        return how

    states: list[Any] = []
    for moment in MOMENTS:
        getattr(ends, f"on_{moment}")(lambda event: states.append(jobs.job(event.id).state))
    for how in ("done", "fail", "cancel", "dead", "snooze"):
        ends.using(conn).enqueue(how, secret="s")
    drained = jobs.drain(raises=False)
    jobs.age(30)
    jobs.drain(raises=False, limit=3)
    moments = [(event.args["how"], event.moment) for event in told if event.moment != "start"]
    assert moments == [
        ("done", "success"),
        ("fail", "retry"),
        ("cancel", "cancelled"),
        ("dead", "dead"),
        ("fail", "dead"),
    ]
    told_states = [state for state in states if state != "running"]
    assert told_states == ["succeeded", "ready", "cancelled", "dead", "dead"]
    starts = [event for event in told if event.moment == "start"]
    assert len(starts) == states.count("running") == len(drained) + 2
    success, retry = (next(e for e in told if e.moment == m) for m in ("success", "retry"))
    assert (success.result, success.args["secret"], success.attempt) == ("done", "***", 1)
    assert (retry.error_type, retry.message, retry.delay) == ("ValueError", "twice", 30)


def test_a_job_that_expired_is_told_without_a_start(
    jobs: JobTester, shop: Shop, told: list[JobEvent], conn: Conn
) -> None:
    row = conn.execute("select now() + interval '1 hour'").fetchone()
    assert row is not None
    shop.note.using(conn, expires_at=row[0]).enqueue(word="late")
    jobs.age(7200)
    jobs.drain()
    assert [(event.moment, event.attempt) for event in told] == [("expired", 0)]


def test_an_async_hook_is_awaited_in_both_forms(
    jobs: JobTester, shop: Shop, shared_dsn: str
) -> None:
    @shop.note.on_success
    async def later(event: JobEvent) -> None:
        await asyncio.sleep(0)
        shop.done.append(event.result)

    jobs.run_job(shop.note, "a")

    async def main() -> None:
        async with ASYNC["asyncpg"](shared_dsn) as caller:
            await JobTester(shop.app, caller).arun_job(shop.note, "b")

    asyncio.run(main())
    assert shop.done == ["a", "A", "b", "B"]


def test_a_transactional_success_and_an_ephemeral_one_are_told(
    jobs: JobTester, shop: Shop, told: list[JobEvent]
) -> None:
    task = shop.app.task(name="brief", ephemeral=True)(lambda: None)
    for one in (task, shop.charge.job(order_id=1)):
        assert jobs.run_job(one).outcome == "succeeded"
    assert [event.moment for event in told] == ["start", "success"] * 2


def test_a_hook_that_raises_fails_the_test_once_all_are_called(
    jobs: JobTester, shop: Shop, told: list[JobEvent], conn: Conn
) -> None:
    @shop.note.on_success
    def breaks(event: JobEvent) -> None:
        raise RuntimeError(f"pager is down: {event.id}")

    shop.note.on_success(told.append)
    shop.note.using(conn).enqueue("a")
    with pytest.raises(RuntimeError, match="pager is down") as caught:
        jobs.drain()
    assert "breaks (on_success)" in caught.value.__notes__[0]
    assert [event.moment for event in told] == ["start", "success", "success"]
    assert [job.state for job in jobs.enqueued(states=["succeeded"])] == ["succeeded"]
    ran = jobs.run_job(shop.note, "b")
    assert (ran.outcome, ran.error, len(ran.hook_errors)) == ("succeeded", None, 1)
    shop.note.using(conn).enqueue("c")
    assert jobs.drain(raises=False).counts == {"succeeded": 1}


def test_inline_mode_calls_them_too_and_they_can_be_left_out(
    shop: Shop, told: list[JobEvent], conn: Conn
) -> None:
    with JobTester(shop.app, conn).inline():
        shop.note.using(conn).enqueue("a")
    assert len(told) == 2
    quiet = JobTester(shop.app, conn, hooks=False)
    with quiet.inline():
        shop.note.using(conn).enqueue("b")
    quiet.run_job(shop.note, "c")
    shop.note.using(conn).enqueue("d")
    quiet.drain()
    assert len(told) == 2
    assert shop.done == ["a", "b", "c", "d"]
