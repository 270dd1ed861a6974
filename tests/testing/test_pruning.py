"""prune(): what is past its retention goes, in the test's own transaction."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.testing import JobTester
from tests.testing.test_hosts import ASYNC, SYNC

if TYPE_CHECKING:
    from tests.testing.shop import Shop

Conn = psycopg.Connection


def test_what_is_past_the_retention_of_its_state_and_task_goes(conn: Conn) -> None:
    app = PgQueue(settings=Settings(retention={"succeeded": 3600}))

    @app.task(name="brief")
    def brief() -> None: ...

    @app.task(name="kept", retention={"succeeded": timedelta(days=2)})
    def kept() -> None: ...

    @app.task(name="broken", max_attempts=1)
    def broken() -> None:
        raise ValueError

    jobs = JobTester(app, conn)
    for task in (brief, kept, broken):
        task.using(conn).enqueue()
    jobs.drain(raises=False)
    waiting = brief.using(conn, delay=timedelta(days=9)).enqueue()
    jobs.age(3500)
    assert jobs.prune() == 0
    jobs.age(200)
    assert jobs.prune() == 1
    assert jobs.enqueued(brief, states=["succeeded"]) == []
    jobs.age(timedelta(days=2))
    assert jobs.prune() == 1
    assert jobs.job(waiting).state == "ready"
    assert [job.task for job in jobs.enqueued(states=["dead"])] == ["broken"]


def test_more_than_one_part_is_pruned(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    shop.app.using(conn).enqueue_many([shop.note.job("a") for _ in range(600)])
    conn.execute("update pgqueue.jobs set state = 'succeeded', lease = 1, finished_at = now()")
    jobs.age(timedelta(days=2))
    assert jobs.prune() == 600


@pytest.mark.parametrize("kind", SYNC)
def test_through_every_synchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    with SYNC[kind](shared_dsn) as caller:
        jobs = JobTester(shop.app, caller)
        jobs.run_job(shop.note, "a")
        jobs.age(timedelta(days=2))
        assert jobs.prune() == 1


@pytest.mark.parametrize("kind", ASYNC)
def test_through_every_asynchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        async with ASYNC[kind](shared_dsn) as caller:
            jobs = JobTester(shop.app, caller)
            await jobs.arun_job(shop.note, "a")
            await jobs.aage(timedelta(days=2))
            assert await jobs.aprune() == 1

    asyncio.run(main())
