"""What a handler does wrong ends as an error with words, and harms no other and no worker."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.rows import dict_row

from pgqueue.context import JobContext, current_job
from pgqueue.telemetry import wording
from pgqueue.telemetry.events import HookFailed, JobFailed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

EACH_KIND = pytest.mark.parametrize("kind", ["plain", "coroutine"])


def wrapped(function: Callable[[], Any]) -> Callable[[], Any]:
    """Decorated by somebody who thought of plain functions only."""

    @functools.wraps(function)
    def wrapper() -> Any:
        return function()

    return wrapper


async def coroutine() -> None:
    raise AssertionError


def generator() -> Any:
    yield pytest.fail("it was run")


def recorded(table: Table, id_: int) -> str:
    """The message of the job's first attempt that did not succeed."""
    wait_until(lambda: table.attempts(id_), what="an attempt that did not succeed")
    return str(table.attempts(id_)[0]["message"])


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("options", [{}, {"result": False}, {"ephemeral": True}], ids=str)
@pytest.mark.parametrize("function", [coroutine, generator])
def test_a_handler_whose_work_nobody_has_done_has_not_succeeded(
    app: PgQueue, table: Table, work: Work, function: Any, options: dict[str, Any]
) -> None:
    app.task(name="t", **options)(wrapped(function))
    id_ = table.add_one("t")
    work()
    table.wait(id_, "dead")
    assert f"returned a {function.__name__}, so nothing of it has run" in recorded(table, id_)


class Looking(Exception):
    """An error whose own code raises when somebody asks what it is."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("do not ask")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


class Text(str):
    __slots__ = ()

    def replace(self, *_: object) -> str:
        raise RuntimeError("not this text")


class Saying(Exception):
    def __str__(self) -> str:
        return Text("hello")


@EACH_KIND
@pytest.mark.parametrize("error", [Looking, Saying])
def test_an_error_that_raises_when_it_is_looked_at_is_recorded_all_the_same(
    app: PgQueue, table: Table, work: Work, kind: str, error: type[Exception]
) -> None:
    @app.task(name="plain")
    def plain() -> None:
        raise error

    @app.task(name="coroutine")
    async def coroutine() -> None:
        raise error

    id_ = table.add_one(kind, max_attempts=1)
    work()
    table.wait(id_, "dead")
    assert error.__name__ in recorded(table, id_)
    assert "RuntimeError" in recorded(table, id_)


def test_a_hook_whose_error_has_no_text_ends_no_other(
    app: PgQueue, table: Table, work: Work
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise self

    told = []

    @app.on_success
    def fails(_: Any) -> None:
        raise Mute

    app.on_success(lambda event: told.append(event.id))
    app.task(name="t")(lambda: None)
    ids = table.add("t", count=3)
    running = work()
    wait_until(lambda: len(told) == len(ids))
    assert "Mute: <no message" in running.seen(HookFailed)[0].error


def test_a_log_that_fails_ends_no_worker(app: PgQueue, table: Table, work: Work) -> None:
    class Broken(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise ValueError("I/O operation on closed file")

    broken, log = Broken(), logging.getLogger("pgqueue")

    @app.task(name="fails")
    def fails() -> None:
        raise ValueError

    running = work(listeners=[wording.write])
    log.addHandler(broken)
    try:
        table.wait(table.add("fails", count=2, max_attempts=1), "dead")
        wait_until(lambda: len(running.seen(JobFailed)) == 2)
    finally:
        log.removeHandler(broken)
    assert running.error is None


def test_what_a_thread_says_after_its_job_is_not_kept_for_ever(
    app: PgQueue, table: Table, work: Work
) -> None:
    ended = threading.Event()
    threads = []

    @app.task(name="t")
    def leaves_a_thread(context: JobContext) -> None:
        def late() -> None:
            assert ended.wait(20)
            context.progress(1)

        threads.append(threading.Thread(target=late))
        threads[-1].start()

    ids = table.add("t", count=5)
    running = work()
    table.wait(ids, "succeeded")
    ended.set()
    for thread in threads:
        thread.join()
    wait_until(lambda: not running.worker._reports)


def test_a_timeout_does_not_interrupt_what_a_stop_has_ended(
    app: PgQueue, table: Table, work: Work
) -> None:
    started, ending, timed_out = threading.Event(), threading.Event(), threading.Event()

    @app.task(name="t")
    async def cleans_up() -> None:
        if cleaned_up:
            return
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            ending.set()
            await asyncio.to_thread(timed_out.wait, 20)
            cleaned_up.append(True)

    cleaned_up: list[bool] = []
    id_ = table.add_one("t")
    running = work()
    assert started.wait(10)
    executor = running.worker._intake._executors["async"]
    [attempt] = running.worker._intake._ledger.running()
    executor.cancel(attempt, "stop")
    assert ending.wait(10)
    executor.cancel(attempt, "timeout")
    timed_out.set()
    wait_until(lambda: table.attempts(id_))
    assert cleaned_up
    assert table.outcomes(id_) == ["interrupted"]


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@EACH_KIND
def test_a_query_left_under_way_fails_its_attempt_and_not_the_next_job(
    app: PgQueue,
    table: Table,
    work: Work,
    kind: str,
    raises: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rollback would wait for ever for the lock that the stream holds."""
    monkeypatch.setattr("pgqueue.worker.transactions.PATIENCE", 0.1)
    left: list[Any] = []

    @app.task(name="plain", transactional=True)
    def plain(context: JobContext, leave: bool) -> None:
        if leave:
            left.append(context.connection.cursor().stream("select generate_series(1, 100000)"))
            next(left[0])
            if raises:
                raise KeyError("of the handler")

    @app.task(name="coroutine", transactional=True)
    async def coroutine(context: JobContext, leave: bool) -> None:
        if leave:
            left.append(context.aconnection.cursor().stream("select generate_series(1, 100000)"))
            await anext(left[0])
            if raises:
                raise KeyError("of the handler")

    bad = table.add_one(kind, args={"leave": True})
    work(threads=1, concurrency=1)
    words = "of the handler" if raises else "left a query of the job's own connection under way"
    assert words in recorded(table, bad)
    table.wait(table.add_one(kind, args={"leave": False}), "succeeded")


@EACH_KIND
def test_a_row_factory_is_the_handlers_own(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    def check(connection: Any, row: object) -> None:
        assert row == (1,)
        connection.row_factory = dict_row

    @app.task(name="plain", transactional=True)
    def plain(context: JobContext) -> int:
        check(context.connection, context.connection.execute("select 1").fetchone())
        return context.step("one", int, "1") + context.once(str(context.id), int, "2")

    @app.task(name="coroutine", transactional=True)
    async def coroutine(context: JobContext) -> int:
        cursor = await context.aconnection.execute("select 1")
        check(context.aconnection, await cursor.fetchone())
        return await context.astep("one", int, "1") + await context.aonce(str(context.id), int, "2")

    ids = table.add(kind, count=3, max_attempts=1)
    work(threads=1, concurrency=1)
    table.wait(ids, "succeeded")
    assert {table.row(id_)["result"] for id_ in ids} == {3}


@pytest.mark.parametrize("transactional", [True, "session"])
@EACH_KIND
def test_a_step_in_another_thread_than_its_transaction_is_refused_in_words(
    app: PgQueue, table: Table, work: Work, kind: str, transactional: Any
) -> None:
    @app.task(name="coroutine", transactional=transactional)
    async def coroutine() -> int:
        return await asyncio.to_thread(current_job().once, "key", int, "1")

    @app.task(name="plain", transactional=transactional)
    def plain() -> int:
        return asyncio.run(current_job().aonce("key", int, "1"))

    id_ = table.add_one(kind)
    work()
    assert "the job's own transaction is that of a" in recorded(table, id_)
