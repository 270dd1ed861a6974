"""Handlers that wait for nothing share an asyncio task; nothing of one is seen by another."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import current_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

JOBS = 60

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def run(table: Table, work: Work) -> list[int]:
    """Run so many jobs of the task `t`, each to its success at the first attempt; their ids."""
    ids = table.add("t", count=JOBS)
    work()
    table.wait(ids, "succeeded")
    assert {table.row(id_)["attempt"] for id_ in ids} == {1}
    return ids


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_handlers_that_wait_for_nothing_share_a_task(
    app: PgQueue, table: Table, work: Work
) -> None:
    tasks = []

    @app.task(name="t")
    async def never_waits() -> None:
        tasks.append(own_task())

    run(table, work)
    assert len(set(tasks)) < JOBS / 2


def test_a_handler_that_waits_has_a_task_to_itself(app: PgQueue, table: Table, work: Work) -> None:
    tasks = []

    @app.task(name="t")
    async def waits() -> None:
        tasks.append(own_task())
        await asyncio.sleep(0)

    run(table, work)
    assert len(set(tasks)) == JOBS


def test_a_context_variable_that_a_handler_leaves_is_gone_with_it(
    app: PgQueue, table: Table, work: Work
) -> None:
    left: ContextVar[int | None] = ContextVar("left", default=None)
    found = []

    @app.task(name="t")
    async def leaves() -> None:
        found.append(left.get())
        left.set(current_job().id)

    run(table, work)
    assert found == [None] * JOBS


def test_what_a_handler_starts_in_the_background_keeps_its_job(
    app: PgQueue, table: Table, work: Work
) -> None:
    started = set()
    found = []

    async def behind(job_id: int) -> None:
        await asyncio.sleep(0)
        found.append((job_id, current_job().id))

    @app.task(name="t")
    async def starts() -> None:
        task = asyncio.get_running_loop().create_task(behind(current_job().id))
        started.add(task)
        task.add_done_callback(started.discard)

    ids = run(table, work)
    assert sorted(found) == [(id_, id_) for id_ in ids]


def test_a_handler_that_cancels_its_own_task_cancels_no_other(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="t")
    async def every_second_cancels(number: int) -> None:
        if number % 2:
            await asyncio.sleep(0)
        else:
            own_task().cancel()

    ids = [table.add_one("t", args={"number": number}) for number in range(JOBS)]
    work()
    table.wait(ids, "succeeded")
    assert {table.row(id_)["attempt"] for id_ in ids} == {1}


def test_the_loop_looks_around_between_handlers_that_wait_for_nothing(
    app: PgQueue, table: Table, work: Work
) -> None:
    """One that waits goes on while many others are still to come."""
    order = []

    @app.task(name="t")
    async def first_waits(number: int) -> None:
        if number == 0:
            await asyncio.sleep(0)
        order.append(number)

    ids = [table.add_one("t", args={"number": number}) for number in range(300)]
    work(concurrency=300)
    table.wait(ids, "succeeded")
    assert order.index(0) < 200
