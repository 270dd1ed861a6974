"""Cancel, stop, suspects, waking: what reaches a worker from outside."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.context import JobContext
from pgqueue.errors import SchemaError
from pgqueue.telemetry import events
from pgqueue.worker import board as words, exchange
from pgqueue.worker.board import Board
from pgqueue.worker.steps import look
from tests.waiting import wait_until
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running

    Work = Callable[..., Running]


def request_cancel(table: Table, id_: int) -> None:
    table.connection.execute(
        "update pgqueue.jobs set cancel_requested_at = clock_timestamp() where id = %s", [id_]
    )
    table.connection.execute(
        "select pg_notify('pgqueue_worker', worker_id::text) from pgqueue.jobs where id = %s",
        [id_],
    )


def test_cancel_ends_a_running_coroutine(app: PgQueue, table: Table, work: Work) -> None:
    started = threading.Event()

    @app.task(name="waits")
    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    id_ = table.add_one("waits")
    work()
    assert started.wait(10)
    request_cancel(table, id_)
    table.wait(id_, "cancelled")
    assert table.outcomes(id_) == ["cancelled"]


def test_a_thread_is_told_and_its_success_wins(app: PgQueue, table: Table, work: Work) -> None:
    started = threading.Event()

    @app.task(name="looks")
    def looks(context: JobContext) -> str:
        started.set()
        wait_until(lambda: context.cancelled, what="told to end")
        return "done anyway"

    id_ = table.add_one("looks")
    work()
    assert started.wait(10)
    request_cancel(table, id_)
    table.wait(id_, "succeeded")


def test_a_failure_after_a_cancel_is_a_cancel_and_not_a_retry(
    app: PgQueue, table: Table, work: Work
) -> None:
    started = threading.Event()

    @app.task(name="looks")
    def looks(context: JobContext) -> None:
        started.set()
        wait_until(lambda: context.cancelled, what="told to end")
        raise InterruptedError

    id_ = table.add_one("looks")
    work()
    assert started.wait(10)
    request_cancel(table, id_)
    table.wait(id_, "cancelled")


def test_cancel_of_a_claimed_job_that_has_not_started(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()

    @app.task(name="blocks")
    def blocks() -> None:
        release.wait(20)

    suspects = table.add("blocks", count=2)
    table.connection.execute("update pgqueue.jobs set suspect = true")
    work()
    table.wait(suspects, "running")
    request_cancel(table, suspects[1])
    table.wait(suspects[1], "cancelled")
    release.set()
    table.wait(suspects[0], "succeeded")


def test_a_stopping_worker_lets_handlers_finish_and_claims_nothing(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()
    started: list[int] = []

    @app.task(name="blocks")
    def blocks(context: JobContext) -> None:
        started.append(context.id)
        release.wait(20)

    ids = table.add("blocks", count=3)
    worker = work()
    wait_until(lambda: len(started) == 3)
    worker.worker.stop()
    wait_until(lambda: worker.seen(events.WorkerStopping))
    later = table.add_one("blocks")
    release.set()
    assert worker.stop() == 0
    assert [table.state(id_) for id_ in ids] == ["succeeded"] * 3
    assert table.state(later) == "ready"
    assert table.row(later)["lease"] == 0
    assert table.connection.execute("select count(*) from pgqueue.workers").fetchone() == (0,)
    assert table.connection.execute("select count(*) from pgqueue.sleepers").fetchone() == (0,)


def test_what_has_not_started_is_given_back_at_no_cost(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()

    @app.task(name="blocks")
    def blocks() -> None:
        release.wait(20)

    ids = table.add("blocks", count=3)
    table.connection.execute("update pgqueue.jobs set suspect = true")
    worker = work()
    table.wait(ids, "running")
    worker.worker.stop()
    table.wait(ids[1:], "ready")
    release.set()
    assert worker.stop() == 0
    assert [(table.row(id_)["attempt"], table.attempts(id_)) for id_ in ids[1:]] == [(0, [])] * 2


def test_handlers_are_cut_at_the_shutdown_timeout_and_their_attempt_given_back(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()
    started: list[str] = []

    @app.task(name="waits")
    async def waits() -> None:
        started.append("waits")
        await asyncio.Event().wait()

    @app.task(name="blocks")
    def blocks() -> None:
        started.append("blocks")
        release.wait(30)

    ids = [table.add_one("waits"), table.add_one("blocks")]
    worker = work(shutdown_timeout=0.1)
    wait_until(lambda: len(started) == 2)
    assert worker.stop() == 1
    for id_ in ids:
        row = table.row(id_)
        assert (row["state"], row["attempt"]) == ("ready", 0)
        assert table.outcomes(id_) == ["interrupted"]
    release.set()


def test_suspects_run_one_at_a_time_beside_others(app: PgQueue, table: Table, work: Work) -> None:
    running: set[int] = set()
    most = 0
    release = threading.Event()

    @app.task(name="counts")
    def counts(context: JobContext) -> None:
        nonlocal most
        running.add(context.id)
        most = max(most, len(running))
        release.wait(20)
        running.discard(context.id)

    @app.task(name="healthy")
    def healthy() -> None: ...

    suspects = table.add("counts", count=3)
    table.connection.execute("update pgqueue.jobs set suspect = true")
    worker = work()
    table.wait(suspects, "running")
    table.wait(table.add("healthy", count=10), "succeeded")
    wait_until(lambda: running)
    named = table.connection.execute("select suspect_id from pgqueue.workers").fetchone()
    assert named is not None
    assert {named[0]} == running
    release.set()
    table.wait(suspects, "succeeded")
    assert most == 1
    assert worker.stop() == 0


def wait_for_steps(board: Board, count: int) -> None:
    """Wait until a worker's engine has gone round so many times."""
    wanted = board.get(words.PROGRESS) + count
    wait_until(lambda: board.get(words.PROGRESS) >= wanted, what=f"{count} more steps")


def test_a_worker_whose_outcomes_are_not_taken_claims_no_more(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the rows of all that has ended."""
    monkeypatch.setattr(exchange, "MOST_OWED", 5)
    release = threading.Event()

    @app.task(name="held")
    async def held() -> None:
        while not release.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.01)

    ids = table.add("held", count=5)
    board = work().worker._board
    table.wait(ids, "running")
    with table.connection.transaction():
        table.connection.execute("select from pgqueue.jobs where state = 'running' for update")
        release.set()
        with psycopg.connect(table.connection.info.dsn, autocommit=True) as connection:
            beside = Table(connection)
            wait_until(lambda: not board.running(), what="the handlers ended")
            wait_for_steps(board, 3)
            later = beside.add("held", count=3)
            wait_for_steps(board, 3)
            assert [beside.row(id_)["lease"] for id_ in later] == [0, 0, 0]
    table.wait([*ids, *later], "succeeded")


def test_a_sleeping_worker_is_woken_by_the_commit(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poll and probe are a minute away: only the notification can bring the job."""
    monkeypatch.setattr(look, "PROBE_EVERY", 60.0)

    @app.task(name="plain")
    def plain() -> None: ...

    work(poll_interval=60)
    armed = "select count(*) from pgqueue.sleepers"
    wait_until(lambda: table.connection.execute(armed).fetchone() == (1,), what="armed")
    table.wait(table.add_one("plain"), "succeeded", timeout=5)
    table.wait(table.add_one("plain", priority=33), "succeeded", timeout=5)


def test_without_listen_jobs_are_found_by_polling(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    work(listen=False)
    table.wait(table.add_one("plain"), "succeeded")
    assert table.connection.execute("select count(*) from pgqueue.sleepers").fetchone() == (0,)


def test_a_job_below_the_floor_is_found_by_the_probe(
    app: PgQueue, table: Table, work: Work
) -> None:
    """A transaction that was open for long commits a job older than what was claimed since."""

    @app.task(name="plain")
    def plain() -> None: ...

    work(listen=False)
    table.wait(table.add_one("plain"), "succeeded")
    row = table.connection.execute(
        "insert into pgqueue.jobs (task, run_at) "
        "values ('plain', clock_timestamp() - interval '1 hour') returning id"
    ).fetchone()
    assert row is not None
    table.wait(row[0], "succeeded", timeout=10)


def test_a_job_of_a_new_priority_is_found_by_the_probe(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    work(listen=False)
    table.wait(table.add_one("plain", priority=-77), "succeeded", timeout=10)


def test_nonsense_in_a_notification_harms_nothing(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    work()
    for payload in ("", "x", "²", "-", "999999999999999999999", "1; drop table"):
        for channel in ("pgqueue.default", "pgqueue_worker"):
            table.connection.execute("select pg_notify(%s, %s)", [channel, payload])
    table.wait(table.add_one("plain"), "succeeded")


def test_a_worker_refuses_a_schema_that_it_does_not_support(table: Table, work: Work) -> None:
    table.connection.execute("update pgqueue.alembic_version set version_num = '9999'")
    worker = work()
    worker.thread.join(10)
    assert isinstance(worker.error, SchemaError)


def test_a_row_that_somebody_has_locked_holds_up_no_other(
    app: PgQueue, table: Table, work: Work, dsn: str
) -> None:
    """The flow of a busy worker waits for a locked row once, up to the lock timeout.

    Claims are under way at that moment: what they bring is not given back.
    """

    @app.task(name="coroutine")
    async def coroutine() -> None: ...

    ids = table.add("coroutine", count=20_000)
    with psycopg.connect(dsn) as other:
        worker = work(lock_timeout=0.01)
        wait_until(lambda: table.connected("claims"))
        locked = wait_until(lambda: _lock_a_running_job(other)) or 0
        table.wait([id_ for id_ in ids if id_ != locked], "succeeded", timeout=60)
        assert table.state(locked) == "running"
        other.rollback()
    table.wait(locked, "succeeded")
    assert worker.stop() == 0
    assert table.count("attempt <> 1 or lease <> 2") == 0


def _lock_a_running_job(other: psycopg.Connection) -> int | None:
    """Lock one job that runs, in a transaction that stays open; its id."""
    query = (
        "select id from pgqueue.jobs where state = 'running' order by id desc limit 1 "
        "for no key update skip locked"
    )
    row = other.execute(query).fetchone()
    if row is None:
        other.rollback()
    return row[0] if row else None
