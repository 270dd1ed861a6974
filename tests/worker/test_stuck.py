"""Threads and coroutines that do not end when they should, or block the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from pgqueue.context import JobContext
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Events
from pgqueue.worker.executors.stalls import StallWatch
from tests.waiting import wait_until
from tests.worker.test_control import request_cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.telemetry.events import Event
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

LATER = fixed(3600)


def test_a_thread_that_runs_too_long_is_recorded_and_another_takes_its_place(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()

    @app.task(name="sleeps", retry=LATER)
    def sleeps() -> str:
        release.wait(20)
        return "too late"

    @app.task(name="plain")
    def plain() -> None: ...

    id_ = table.add_one("sleeps", timeout=0.1)
    worker = work(threads=1, max_stuck=3, cancel_grace=0.1)
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    [attempt] = table.attempts(id_)
    assert attempt["error_type"] == "JobTimeout"
    assert "ran longer than 0.1 s" in attempt["message"]
    assert "runs on" in attempt["message"]
    [stuck] = worker.seen(events.HandlerStuck)
    assert (stuck.job_id, stuck.executor, stuck.why) == (id_, "thread", "timeout")
    table.wait(table.add("plain", count=5), "succeeded")
    before = table.row(id_)
    release.set()
    wait_until(lambda: worker.seen(events.StuckHandlerEnded))
    table.wait(table.add("plain", count=5), "succeeded")
    assert table.row(id_) == before
    assert worker.seen(events.LeaseGone) == []
    assert worker.stop() == 0


def test_a_thread_that_looks_ends_in_time_and_keeps_its_slot(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="looks", retry=LATER)
    def looks(context: JobContext) -> None:
        wait_until(lambda: context.cancelled, what="told to end")
        raise InterruptedError("told to end")

    id_ = table.add_one("looks", timeout=0.1)
    worker = work(cancel_grace=20.0)
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    assert table.attempts(id_)[0]["error_type"] == "InterruptedError"
    assert worker.seen(events.HandlerStuck) == []


def test_what_a_stuck_thread_writes_in_its_transaction_is_rolled_back(
    app: PgQueue, table: Table, work: Work
) -> None:
    table.connection.execute("create table effects (job_id bigint)")
    release = threading.Event()

    @app.task(name="writes", transactional=True, retry=LATER)
    def writes(context: JobContext) -> None:
        context.connection.execute("insert into effects values (%s)", [context.id])
        release.wait(20)

    id_ = table.add_one("writes", timeout=0.1)
    worker = work(cancel_grace=0.1)
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    release.set()
    wait_until(lambda: worker.seen(events.StuckHandlerEnded))
    assert table.connection.execute("select from effects").fetchall() == []
    assert (table.state(id_), table.row(id_)["lease"]) == ("ready", 2)


def test_stuck_threads_are_replaced_up_to_a_limit(app: PgQueue, table: Table, work: Work) -> None:
    release = threading.Event()
    started: list[int] = []

    @app.task(name="sleeps", retry=LATER)
    def sleeps(context: JobContext) -> None:
        started.append(context.id)
        release.wait(20)

    ids = table.add("sleeps", count=6, timeout=0.1)
    worker = work(threads=1, max_stuck=2, cancel_grace=0.05)
    wait_until(lambda: len(worker.seen(events.HandlerStuck)) == 3, what="one and two more")
    wait_until(lambda: table.count("state = 'running'") == 0, what="nothing else is claimed")
    assert len(started) == 3
    release.set()
    wait_until(lambda: len(started) == 6, 20, "the rest has its turn")
    table.wait(ids[3:], "succeeded")


def test_a_coroutine_that_ignores_its_cancellation_is_written_off(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = asyncio.Event()

    @app.task(name="ignores", retry=LATER)
    async def ignores(context: JobContext) -> str:
        started.add(context.id)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                told.append("and ignored")
        return "too late"

    @app.task(name="here")
    async def here() -> None:
        release.set()

    started: set[int] = set()
    told: list[str] = []
    late = table.add_one("ignores", timeout=0.1)
    unwanted = table.add_one("ignores")
    worker = work(concurrency=2, max_stuck=9, cancel_grace=0.1)
    wait_until(lambda: unwanted in started)
    request_cancel(table, unwanted)
    table.wait(unwanted, "cancelled")
    wait_until(lambda: table.outcomes(late) == ["retried"])
    assert "runs on" in table.attempts(late)[0]["message"]
    assert len(told) == 2
    assert {event.executor for event in worker.seen(events.HandlerStuck)} == {"async"}
    table.wait(table.add_one("here"), "succeeded")
    wait_until(lambda: len(worker.seen(events.StuckHandlerEnded)) == 2)
    assert table.row(late)["lease"] == 2
    assert worker.stop() == 0


def test_a_handler_that_blocks_the_event_loop_is_named_once_with_its_line(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()

    @app.task(name="blocks")
    async def blocks() -> None:
        await asyncio.sleep(0)
        release.wait(20)

    @app.task(name="waits")
    async def waits() -> None:
        await asyncio.Event().wait()

    waiting = table.add_one("waits")
    worker = work(stall_warning=0.1)
    table.wait(waiting, "running")
    id_ = table.add_one("blocks")
    [blocked] = wait_until(lambda: worker.seen(events.LoopBlocked))
    assert (blocked.job_id, blocked.task) == (id_, "blocks")
    assert 0.1 <= blocked.seconds < 20
    assert "test_stuck.py" in blocked.where
    assert "in blocks" in blocked.where
    told_by = time.monotonic() + 0.4
    wait_until(lambda: time.monotonic() > told_by, what="time in which it could be told again")
    assert len(worker.seen(events.LoopBlocked)) == 1
    release.set()
    table.wait(id_, "succeeded")
    release.clear()
    again = table.add_one("blocks")
    wait_until(lambda: len(worker.seen(events.LoopBlocked)) == 2, what="another incident")
    release.set()
    table.wait(again, "succeeded")
    request_cancel(table, waiting)
    table.wait(waiting, "cancelled")


def test_a_loop_that_only_waits_is_not_named() -> None:
    told: list[Event] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
    watch = StallWatch(loop, thread, {}, threshold=3600.0, emit=Events(told.append))
    try:
        assert not watch._tell(7.0)  # it has not answered for 7 s, for want of the processor
    finally:
        watch.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert told == []
