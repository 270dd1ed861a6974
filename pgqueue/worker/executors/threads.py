"""Runs plain `def` handlers: a fixed number of threads, started as they are needed.

A thread cannot be interrupted: a handler that should end is told by `context.cancelled`.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from pgqueue.context import enter_job
from pgqueue.worker import execution
from pgqueue.worker.executors.backlog import Backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.config import Settings
    from pgqueue.outcome import Outcome
    from pgqueue.worker.board import Board
    from pgqueue.worker.parts import Attempt, Outbox, Why
    from pgqueue.worker.transactions import Transactions


class ThreadExecutor:
    """See `Executor`; the arguments are those of EventLoopExecutor."""

    name = "threads"

    def __init__(
        self,
        slots: int,
        outbox: Outbox,
        board: Board,
        settings: Settings,
        transactions: Transactions,
    ) -> None:
        self._slots, self._outbox, self._board = slots, outbox, board
        self._settings, self._transactions = settings, transactions
        self._waiting: deque[tuple[float, Attempt]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._taken = self._ended = 0
        self._backlog = Backlog()
        self._closed = False

    def room(self) -> int:
        in_hand = self._taken - self._ended
        backlog = self._backlog.size(self._ended, in_hand, time.monotonic())
        return self._slots + backlog - in_hand

    def in_hand(self) -> int:
        return self._taken - self._ended

    def start(self, attempts: Sequence[Attempt]) -> None:
        now = time.monotonic()
        with self._changed:
            self._taken += len(attempts)
            self._waiting.extend((now, attempt) for attempt in attempts)
            self._changed.notify(min(len(attempts), self._idle))
            missing = min(len(self._waiting) - self._idle, self._slots - len(self._threads))
            for _ in range(missing):
                thread = threading.Thread(target=self._work, name="pgqueue-thread", daemon=True)
                self._threads.append(thread)
                thread.start()

    def cancel(self, attempt: Attempt, why: Why) -> None:
        with self._changed:
            attempt.end(why)
            waiting = next((pair for pair in self._waiting if pair[1] is attempt), None)
            if waiting is None:
                return
            self._waiting.remove(waiting)
            self._ended += 1
        self._outbox(execution.cut(attempt))

    def unstarted(self, older_than: float) -> list[Attempt]:
        limit = time.monotonic() - older_than
        back: list[Attempt] = []
        with self._changed, contextlib.suppress(IndexError):
            while self._waiting[0][0] <= limit:
                back.append(self._waiting.popleft()[1])
        self._taken -= len(back)
        return back

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._taken == self._ended:
            for thread in self._threads:
                thread.join()
        self._transactions.close()

    def _work(self) -> None:
        """Run attempts until closed; on a thread of the pool."""
        while (attempt := self._next()) is not None:
            outcome = contextvars.copy_context().run(self._attempt, attempt)
            with self._changed:
                self._board.ended(attempt.slot)
                self._ended += 1
            self._outbox(outcome)

    def _next(self) -> Attempt | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            if self._closed:
                return None
            attempt = self._waiting.popleft()[1]
            attempt.started = True
            attempt.slot = self._board.started(attempt.job.id)
            return attempt

    def _attempt(self, attempt: Attempt) -> Outcome:
        """Run one attempt to its outcome; nothing that a handler does escapes from here."""
        try:
            args = execution.prepare(attempt)
            enter_job(attempt.context)
            if attempt.task.transactional:
                return self._transactions.run(attempt, args)
            return execution.succeeded(attempt, attempt.call(args), self._settings)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler is its own
            return self._raised(attempt, error)

    def _raised(self, attempt: Attempt, error: BaseException) -> Outcome:
        obeyed = attempt.why is not None and not isinstance(error, Exception)
        return execution.cut(attempt) if obeyed else execution.failed(attempt, error)
