"""Progress, from what a handler says to what people see."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.config import Settings
from pgqueue.context import JobContext, current_job
from pgqueue.errors import Retry
from pgqueue.inspection import Inspector
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]


def seen(table: Table, id_: int) -> tuple[Any, ...] | None:
    """State and progress of a job, read in one moment."""
    query = (
        "select job.state, said.done, said.total, said.message from pgqueue.jobs as job "
        "join pgqueue.progress as said on said.job_id = job.id where job.id = %s"
    )
    return table.connection.execute(query, [id_]).fetchone()


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_progress_is_seen_while_the_handler_runs(
    app: PgQueue, table: Table, work: Work, kind: str, dsn: str
) -> None:
    release = threading.Event()

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        for done in range(1, 43):
            context.progress(done, 100, f"page {done}")
        assert release.wait(20)

    @app.task(name="coroutine")
    async def coroutine() -> None:
        for done in range(1, 43):
            current_job().progress(done, 100, f"page {done}")
        await asyncio.to_thread(release.wait, 20)

    id_ = table.add_one(kind)
    work()
    wait_until(lambda: seen(table, id_) == ("running", 42, 100, "page 42"))
    told = Inspector(dsn, Settings()).job(id_).progress
    assert told is not None
    assert (told.done, told.total, told.message, told.share) == (42, 100, "page 42", 0.42)
    assert told.lease == table.row(id_)["lease"]
    assert told.age < 60
    release.set()
    table.wait(id_, "succeeded")


@pytest.mark.parametrize("kind", ["plain", "coroutine", "transactional", "atransactional"])
def test_the_last_word_comes_with_the_outcome(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    """Whoever sees that the job has ended sees it: no write comes after."""
    app.task(name="plain")(lambda: current_job().progress(10, 10, "done"))
    app.task(name="transactional", transactional=True)(
        lambda: current_job().progress(10, 10, "done")
    )

    async def last_word() -> None:
        current_job().progress(9, 10)
        current_job().progress(10, 10, "done")

    app.task(name="coroutine")(last_word)
    app.task(name="atransactional", transactional=True)(last_word)
    ids = table.add(kind, count=30)
    work()
    first = wait_until(lambda: ended_first(table, ids))
    assert first == ("succeeded", 10, 10, "done")
    table.wait(ids, "succeeded")
    assert {seen(table, id_) for id_ in ids} == {("succeeded", 10, 10, "done")}


def ended_first(table: Table, ids: list[int]) -> Any:
    query = (
        "select job.state, said.done, said.total, said.message from pgqueue.jobs as job "
        "left join pgqueue.progress as said on said.job_id = job.id "
        "where job.id = any (%s) and job.state = 'succeeded' order by job.finished_at limit 1"
    )
    return table.connection.execute(query, [ids]).fetchone()


def test_an_attempt_that_fails_leaves_its_last_word(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="fails")
    def fails(context: JobContext) -> None:
        context.progress(3, 7, "then it broke")
        raise Retry(after=3600)

    id_ = table.add_one("fails")
    work()
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    assert seen(table, id_) == ("ready", 3, 7, "then it broke")


def test_all_jobs_of_a_worker_are_written_in_one_statement(
    app: PgQueue, table: Table, work: Work
) -> None:
    start, release = threading.Event(), threading.Event()

    @app.task(name="says")
    async def says() -> None:
        await asyncio.to_thread(start.wait, 20)
        current_job().progress(1)
        await asyncio.to_thread(release.wait, 20)

    ids = table.add("says", count=4)
    work()
    table.wait(ids, "running")
    start.set()
    query = "select count(*), count(distinct xmin::text) from pgqueue.progress"
    rows, writes = wait_until(
        lambda: (found := table.connection.execute(query).fetchone()) and found[0] == 4 and found
    ) or (0, 0)
    assert rows == 4
    assert writes <= 2, "two ticks at most, when one fell in between"
    release.set()
    table.wait(ids, "succeeded")


def test_jobs_that_say_nothing_leave_nothing(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="silent")
    async def silent() -> None: ...

    ids = table.add("silent", count=20)
    worker = work()
    table.wait(ids, "succeeded")
    assert table.connection.execute("select count(*) from pgqueue.progress").fetchone() == (0,)
    assert not worker.worker._reports
