"""Runs `async def` handlers: an event loop on a thread of its own, one asyncio task an attempt.

Hand-over is per batch both ways. An attempt that waits for anything has its asyncio task for
itself: its context variables, its cancellation and its identity are its own. Those that end without
having waited once, and leave no context variable behind, share one, which saves a microsecond each.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Final, cast

from pgqueue.context import enter_job
from pgqueue.telemetry.events import LoopInterrupted
from pgqueue.worker import execution
from pgqueue.worker.executors.backlog import Backlog
from pgqueue.worker.executors.stalls import StallWatch
from pgqueue.worker.loop import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.outcome import Outcome
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.board import Board
    from pgqueue.worker.parts import Attempt, Outbox, Why
    from pgqueue.worker.stuck import Stuck
    from pgqueue.worker.transactions import AsyncTransactions


SERIES: Final = 25
"""Attempts that one task runs at most, one after the other: then the loop looks around."""
STARTED_AT_ONCE: Final = 4
"""Tasks for one look at what waits: so many start in one turn of the loop when all of them wait."""


class EventLoopExecutor:
    """See `Executor`.

    Args:
        outbox: takes the outcomes.
        board: learns which handlers run.
        settings: gives the slots, the limit of results, the grace, and the length of a stall.
        transactions: opens the connections of transactional tasks.
        stuck: is told of handlers that ignore that they were cancelled.
        emit: takes events.
        failed: told when the loop cannot go on.
        loop: not running yet; closed in the end.
    """

    name = "async"

    def __init__(
        self,
        outbox: Outbox,
        board: Board,
        settings: Settings,
        transactions: AsyncTransactions,
        *,
        stuck: Stuck,
        emit: Events,
        failed: Callable[[BaseException], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._emit = emit
        self._slots, self._outbox, self._board = settings.concurrency, outbox, board
        self._settings, self._transactions = settings, transactions
        self._stuck = stuck
        self._written_off: dict[Attempt, asyncio.Task[None]] = {}
        self._waiting: deque[tuple[float, Attempt]] = deque()
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._taken = self._ended = 0
        self._backlog = Backlog()
        self._pumping = False
        self._turn = 0
        self._closed = self._over = False
        self._clean = contextvars.copy_context()
        self._loop = loop
        self._thread = threading.Thread(
            target=guard, args=(self._run, failed), name="pgqueue-async", daemon=True
        )
        self._thread.start()
        self._stalls = StallWatch(
            self._loop, self._thread, self._tasks, settings.stall_warning, emit
        )

    def room(self) -> int:
        in_hand = self._taken - self._ended
        backlog = self._backlog.size(self._ended, in_hand, time.monotonic())
        return self._slots + backlog - in_hand

    def in_hand(self) -> int:
        return self._taken - self._ended

    def start(self, attempts: Sequence[Attempt]) -> None:
        execution.decode_together(attempts)
        now = time.monotonic()
        self._taken += len(attempts)
        self._waiting.extend(zip(repeat(now), attempts))
        self._wake()

    def cancel(self, attempt: Attempt, why: Why) -> None:
        self._loop.call_soon_threadsafe(self._cancel, attempt, why)

    def unstarted(self, older_than: float) -> list[Attempt]:
        limit = time.monotonic() - older_than
        back: list[Attempt] = []
        # Both threads pop from the left and each pop is atomic: an attempt is taken once.
        with contextlib.suppress(IndexError):
            while self._waiting[0][0] <= limit:
                back.append(self._waiting.popleft()[1])
        self._taken -= len(back)
        return back

    def close(self) -> None:
        self._closed = True
        self._stalls.close()
        # Not create_task(): a handler may have set a task factory.
        self._loop.call_soon_threadsafe(lambda: asyncio.Task(self._shut(), loop=self._loop))
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        """Run the loop until it is closed; on the executor's thread.

        What a handler has started ends the loop when it raises one of two exceptions, and so does
        `loop.stop()`. All that waits in the loop is still there, and it goes on.
        """
        asyncio.set_event_loop(self._loop)
        while not self._over:
            try:
                self._loop.run_forever()
                reason = "something called its stop()"
            except (SystemExit, KeyboardInterrupt) as error:
                reason = f"a task or callback of a handler raised {error!r}"
            if not self._over:
                self._emit(LoopInterrupted(reason))

    async def _shut(self) -> None:
        for task in [*self._tasks.values(), *self._written_off.values()]:
            task.cancel()
        await asyncio.sleep(0)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._transactions.aclose(), timeout=1.0)
        self._over = True
        self._loop.stop()

    def _wake(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        """Start tasks for what waits, and come again behind them; on the loop's thread."""
        self._pumping = False
        self._turn += 1
        count = min(len(self._waiting), self._slots - len(self._tasks), STARTED_AT_ONCE)
        if count <= 0 or self._closed:
            return
        self._pumping = True
        for _ in range(count):
            # Not the context of whoever called: that may be another handler's.
            asyncio.Task(self._series(), loop=self._loop, context=self._clean.copy())
        self._loop.call_soon(self._pump)

    async def _series(self) -> None:
        """Run attempts that wait for nothing one after the other, or one that does.

        Every pump comes behind the tasks that the one before has started. So as long as no pump
        has come, nothing has waited.
        """
        task = cast("asyncio.Task[None]", asyncio.current_task())
        turn = self._turn
        for _ in range(SERIES):
            if self._closed or len(self._tasks) >= self._slots:
                return
            try:
                _, attempt = self._waiting.popleft()
            except IndexError:
                return
            self._tasks[attempt] = task
            task.set_name(attempt.job.task)
            enter_job(attempt.context)
            before = contextvars.copy_context()
            await self._attempt(attempt)
            if self._turn != turn or task.cancelling() or contextvars.copy_context() != before:
                break
        if self._waiting and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    async def _attempt(self, attempt: Attempt) -> None:
        """Run one attempt to its outcome; nothing that a handler does escapes from here."""
        timer = None
        outcome: Outcome
        attempt.started = True
        attempt.slot = self._board.started(attempt.job.id)
        try:
            args = execution.prepare(attempt)
            if (timeout := attempt.job.timeout) is not None:
                timer = self._loop.call_later(timeout, self._cancel, attempt, "timeout")
            if attempt.task.transactional:
                outcome = await self._transactions.run(attempt, args)
            else:
                outcome = execution.succeeded(attempt, await attempt.call(args), self._settings)
        except asyncio.CancelledError as error:
            outcome = execution.cut(attempt) if attempt.why else execution.failed(attempt, error)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler is its own
            outcome = execution.failed(attempt, error)
        if timer is not None:
            timer.cancel()
        if self._tasks.pop(attempt, None) is None:
            del self._written_off[attempt]
            self._stuck.ended(attempt)
            return
        self._board.ended(attempt.slot)
        self._ended += 1
        self._outbox(outcome)

    def _cancel(self, attempt: Attempt, why: Why) -> None:
        if attempt.why is not None:  # its clean-up is not interrupted, and the first reason stays
            return
        attempt.end(why)
        if (task := self._tasks.get(attempt)) is not None:
            task.cancel()
            self._loop.call_later(self._settings.cancel_grace, self._write_off, attempt)
            return
        # Of a copy, which one call makes: the exchange's thread adds and takes meanwhile.
        waiting = next((pair for pair in list(self._waiting) if pair[1] is attempt), None)
        with contextlib.suppress(ValueError, IndexError):  # given back to the exchange meanwhile
            self._waiting.remove(waiting or (0.0, attempt))
            self._ended += 1
            self._outbox(execution.cut(attempt))

    def _write_off(self, attempt: Attempt) -> None:
        """Give up a handler that ignores its cancellation: another has its slot."""
        task = self._tasks.pop(attempt, None)
        if task is None:
            return
        self._written_off[attempt] = task
        self._stuck.add(attempt)
        self._board.ended(attempt.slot)
        self._ended += 1
        self._outbox(execution.cut(attempt, "; its handler ignored the cancellation and runs on"))
        self._pump()
