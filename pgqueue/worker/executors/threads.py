"""Runs plain `def` handlers: a fixed number of threads, started as they are needed.

A thread cannot be interrupted: a handler that should end is told by `context.cancelled`. One that
runs on after its timeout is written off: its attempt is recorded, and another thread takes over.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from pgqueue.worker import execution, plain
from pgqueue.worker.executors.backlog import Backlog
from pgqueue.worker.executors.watch import Watch
from pgqueue.worker.loop import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.worker.board import Board
    from pgqueue.worker.parts import Attempt, Outbox, Why
    from pgqueue.worker.stuck import Stuck
    from pgqueue.worker.transactions import Transactions


class ThreadExecutor:
    """See `Executor`.

    Args:
        outbox: takes the outcomes.
        board: learns which handlers run.
        settings: gives the slots, the limit of results and the grace.
        transactions: opens the connections of transactional tasks.
        stuck: is told of handlers that run on after their timeout.
        failed: told when one of its threads cannot go on.
    """

    name = "thread"

    def __init__(
        self,
        outbox: Outbox,
        board: Board,
        settings: Settings,
        transactions: Transactions,
        stuck: Stuck,
        *,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._failed = failed
        self._slots, self._outbox, self._board = settings.threads, outbox, board
        self._settings, self._transactions, self._stuck = settings, transactions, stuck
        self._written_off = 0
        self._overdue: set[Attempt] = set()
        self._watch = Watch(self._late, failed)
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
        return self._slots - self._lost_slots() + backlog - in_hand

    def in_hand(self) -> int:
        return self._taken - self._ended

    def start(self, attempts: Sequence[Attempt]) -> None:
        execution.decode_together(attempts)
        now = time.monotonic()
        with self._changed:
            self._taken += len(attempts)
            self._waiting.extend((now, attempt) for attempt in attempts)
            self._changed.notify(min(len(attempts), self._idle))
            self._start_missing()

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
        self._watch.close()
        if self._taken == self._ended and not self._written_off:
            for thread in self._threads:
                thread.join()
        self._transactions.close()

    def _work(self) -> None:
        """Run attempts until closed; on a thread of the pool."""
        while (attempt := self._next()) is not None:
            outcome = contextvars.copy_context().run(
                plain.run, attempt, self._settings, self._transactions
            )
            if not self._ended_in_time(attempt):
                return  # another thread has taken this one's place
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
        if attempt.job.timeout is not None:
            self._watch.add(attempt, attempt.job.timeout)
        return attempt

    def _ended_in_time(self, attempt: Attempt) -> bool:
        """Note that a handler has ended; False when it had been written off."""
        if attempt.job.timeout is not None:
            self._watch.remove(attempt)
        with self._changed:
            if self._overdue:
                self._overdue.discard(attempt)
            if attempt.slot >= 0:
                self._board.ended(attempt.slot)
                attempt.slot = -1
                self._ended += 1
                return True
            self._written_off -= 1
            self._threads.remove(threading.current_thread())
        self._stuck.ended(attempt)
        return False

    def _late(self, attempt: Attempt) -> float | None:
        """An attempt's time is up: tell its handler, and write it off a grace later."""
        with self._changed:
            if attempt.slot < 0:
                return None
            if attempt not in self._overdue:
                self._overdue.add(attempt)
                if attempt.why is None:
                    attempt.end("timeout")
                return self._settings.cancel_grace
            self._board.ended(attempt.slot)
            attempt.slot = -1
            self._ended += 1
            self._written_off += 1
            self._start_missing()
        self._stuck.add(attempt)
        self._outbox(
            execution.cut(attempt, "; a thread cannot be interrupted, and its handler runs on")
        )
        return None

    def _start_missing(self) -> None:
        """Start the threads that are needed; with the lock."""
        allowed = self._slots + min(self._written_off, self._settings.most_stuck)
        missing = min(len(self._waiting) - self._idle, allowed - len(self._threads))
        for _ in range(missing):
            thread = threading.Thread(
                target=guard, args=(self._work, self._failed), name="pgqueue-thread", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _lost_slots(self) -> int:
        """Slots whose threads are stuck and are not replaced: those beyond the limit."""
        return max(self._written_off - self._settings.most_stuck, 0)
