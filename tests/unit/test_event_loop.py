"""The executor of coroutines, by itself."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.telemetry.events import Events
from pgqueue.worker.board import Board
from pgqueue.worker.executors.event_loop import EventLoopExecutor
from pgqueue.worker.parts import Attempt
from pgqueue.worker.stuck import Stuck
from pgqueue.worker.transactions import AsyncTransactions
from tests.unit.claims import claimed_job
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.outcome import Outcome

CANCELS = 300
AHEAD = 3000


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient")
def test_what_waits_is_cancelled_while_other_attempts_come() -> None:
    app = PgQueue("not used")

    @app.task(name="t")
    async def waits() -> None:
        await asyncio.Event().wait()

    settings, emit = Settings(concurrency=1), Events()
    ended: list[Outcome] = []
    broken: list[BaseException] = []

    def outbox(outcome: Outcome) -> None:
        ended.append(outcome)

    executor = EventLoopExecutor(
        outbox,
        Board(1),
        settings,
        AsyncTransactions("not used", settings, 1),
        stuck=Stuck(emit),
        emit=emit,
        failed=broken.append,
        loop=asyncio.new_event_loop(),
    )

    def attempts(first: int, count: int) -> list[Attempt]:
        task = app.tasks["t"]
        return [Attempt(claimed_job(id=first + n), task) for n in range(count)]

    try:
        executor.start(attempts(1, AHEAD))
        unwanted = attempts(10_000, CANCELS)
        executor.start(unwanted)
        for attempt in unwanted:
            executor.cancel(attempt, "cancel")
        last = unwanted[-1]
        for number in range(20_000, 30_000):
            executor.start(attempts(number, 1))
            if last.why is not None:
                break
        wait_until(lambda: len(ended) == CANCELS, what="all are cancelled")
        assert not broken
    finally:
        executor.close()
