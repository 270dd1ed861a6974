"""What else a drain records as a worker does: ephemeral successes, progress, any executor."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.context import JobContext
from pgqueue.errors import JobNotFound
from pgqueue.testing import JobTester
from tests.testing.test_hosts import ASYNC

if TYPE_CHECKING:
    from tests.testing.shop import Shop

Conn = psycopg.Connection


def process_id() -> int:
    return os.getpid()


@pytest.mark.parametrize("transactional", [False, True])
def test_a_success_of_an_ephemeral_task_leaves_no_row(
    transactional: bool, jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    @shop.app.task(name="brief", ephemeral=True, transactional=transactional)
    def brief(ctx: JobContext, fails: bool) -> str:
        ctx.progress(1, 2)
        if fails:
            raise ValueError("no")
        return "kept nowhere"

    done, failed = (brief.using(conn).enqueue(fails) for fails in (False, True))
    drained = jobs.drain(raises=False)
    assert drained.counts == {"succeeded": 1, "retried": 1}
    assert (drained[0].job, drained[0].state, drained[0].result) == (None, None, None)
    with pytest.raises(JobNotFound):
        jobs.job(done)
    assert jobs.job(failed).state == "ready"


@pytest.mark.parametrize("transactional", [False, True])
def test_the_last_word_of_progress_is_kept(
    transactional: bool, jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    @shop.app.task(name="slow", transactional=transactional)
    def slow(ctx: JobContext, fails: bool) -> None:
        ctx.progress(1, 4)
        ctx.progress(3, 4, "nearly")
        if fails:
            raise ValueError("no")

    for fails in (False, True):
        job = slow.using(conn).enqueue(fails)
        assert jobs.job(job).progress is None
        jobs.drain(raises=False)
        said = jobs.job(job).progress
        assert said is not None
        assert (said.done, said.total, said.message, said.share) == (3, 4, "nearly", 0.75)


def test_progress_of_a_coroutine_is_kept(shop: Shop, shared_dsn: str) -> None:
    @shop.app.task(name="slow")
    async def slow(ctx: JobContext) -> None:
        ctx.progress(0.5)

    async def main() -> None:
        async with ASYNC["asyncpg"](shared_dsn) as caller:
            ran = await JobTester(shop.app, caller).arun_job(slow)
            assert ran.job is not None
            assert ran.job.progress is not None
            assert (ran.job.progress.done, ran.job.progress.total) == (0.5, None)

    asyncio.run(main())


def test_a_task_of_child_processes_runs_in_this_one(jobs: JobTester, shop: Shop) -> None:
    task = shop.app.task(name="process_id", executor="process")(process_id)
    assert jobs.run_job(task).result == os.getpid()
