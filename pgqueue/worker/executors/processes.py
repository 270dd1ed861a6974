"""Runs `executor="process"` handlers: child processes, started as they are needed and kept.

All of it happens on one thread that never waits for a child: it reads what children have said,
hands attempts to those that are idle, and kills those that do not end when they should.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pgqueue import outcome
from pgqueue.outcome import MemoryExceeded
from pgqueue.telemetry.events import ChildFailed
from pgqueue.worker import execution, messages
from pgqueue.worker.executors.backlog import Backlog
from pgqueue.worker.executors.child_process import ChildProcess
from pgqueue.worker.loop import Wake, guard
from pgqueue.worker.resources import CHEAP, resident
from pgqueue.worker.restarts import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.outcome import Outcome, Unsuccessful
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.board import Board
    from pgqueue.worker.messages import ChildOrder, Message
    from pgqueue.worker.parts import Attempt, Outbox, Why

SAMPLE: Final = 0.1 if CHEAP else 1.0
"""Seconds between two looks at the memory of a child that has a limit."""
REAP: Final = 0.02
"""Seconds between two looks for the end of a child that was killed."""
LONGEST: Final = 3600.0
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 30.0
"""Seconds until another child is started when one could not load the app; doubled each time."""
CLOSING: Final = 2.0
"""Seconds in which killed children are expected to be gone at the end."""


class ProcessExecutor:
    """See `Executor`.

    Args:
        outbox: takes the outcomes.
        board: learns which handlers run.
        settings: gives the number of children, the grace, the crash cap, the limit of memory.
        order: what a child is told first.
        emit: takes events.
        failed: told of an error of ours, after which no job here would ever end.
    """

    name = "process"

    def __init__(
        self,
        outbox: Outbox,
        board: Board,
        settings: Settings,
        order: ChildOrder,
        emit: Events,
        *,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._slots, self._outbox, self._board = settings.children, outbox, board
        self._settings, self._order, self._emit = settings, order, emit
        self._failed = failed
        self._waiting: deque[tuple[float, Attempt]] = deque()
        self._asked: deque[tuple[Attempt, Why]] = deque()
        self._children: list[ChildProcess] = []
        self._taken = self._ended = 0
        self._backlog = Backlog()
        self._start_at, self._pause, self._reason = 0.0, FIRST_PAUSE, ""
        self._closed = False
        self._wake = Wake()
        self._thread = threading.Thread(target=self._run, name="pgqueue-children", daemon=True)
        self._thread.start()

    # -- called by the exchange --------------------------------------------------------------

    def room(self) -> int:
        in_hand = self._taken - self._ended
        backlog = self._backlog.size(self._ended, in_hand, time.monotonic())
        return self._slots + backlog - in_hand

    def in_hand(self) -> int:
        return self._taken - self._ended

    def start(self, attempts: Sequence[Attempt]) -> None:
        now = time.monotonic()
        self._taken += len(attempts)
        self._waiting.extend((now, attempt) for attempt in attempts)
        self._wake()

    def cancel(self, attempt: Attempt, why: Why) -> None:
        self._asked.append((attempt, why))
        self._wake()

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
        self._wake()
        self._thread.join(timeout=2 * CLOSING)

    # -- the thread of the children ----------------------------------------------------------

    def _run(self) -> None:
        guard(self._attend, self._failed)
        self._end_all()

    def _attend(self) -> None:
        while not self._closed:
            pause = self._step(time.monotonic())
            interest = [each for child in self._children for each in child.interest()]
            self._wake.wait(pause, interest)

    def _end_all(self) -> None:
        deadline = time.monotonic() + CLOSING
        for child in self._children:
            child.kill()
        while self._children and time.monotonic() < deadline:
            gone = [child for child in self._children if child.process.poll() is not None]
            for child in gone:
                self._children.remove(child)
                child.close()
            time.sleep(REAP if self._children else 0)

    def _step(self, now: float) -> float:
        while self._asked:
            self._ask(*self._asked.popleft(), now)
        for child in list(self._children):
            gone = child.process.poll() is not None  # first: what it said last is read after
            for message in child.read():
                self._heard(child, message)
            if gone:
                self._gone(child, now)
            else:
                child.flush()
                self._watch(child, now)
        self._fill(now)
        if now < self._start_at and not self._children:
            self._give_back(self._start_at - now)
        return self._next_look(now)

    def _ask(self, attempt: Attempt, why: Why, now: float) -> None:
        child = next((child for child in self._children if child.attempt is attempt), None)
        if child is not None:
            if attempt.why is None:
                attempt.end(why)
                child.ask(why, now + self._settings.cancel_grace)
            return
        waiting = next((pair for pair in list(self._waiting) if pair[1] is attempt), None)
        with contextlib.suppress(ValueError, IndexError):  # given back to the exchange meanwhile
            self._waiting.remove(waiting or (0.0, attempt))
            attempt.end(why)
            self._ended += 1
            self._outbox(execution.cut(attempt))

    def _heard(self, child: ChildProcess, message: Message) -> None:
        if "progress" in message:
            attempt = child.attempt
            if attempt is not None and attempt.reports is not None:
                attempt.reports.say(attempt.key, *message["progress"])
            return
        if "outcome" not in message:
            child.ready, self._pause = True, FIRST_PAUSE
            return
        try:
            done = messages.read_outcome(message)
        except (KeyError, TypeError):  # not said by us: nothing from it can be trusted
            child.kill()
            return
        self._done(child, done)
        limit = self._settings.max_rss
        if child.ending or (limit is not None and resident(child.process.pid) > limit):
            child.kill()

    def _done(self, child: ChildProcess, done: Outcome) -> None:
        attempt, child.attempt = child.attempt, None
        if attempt is None:
            return
        child.deadline = math.inf
        self._board.ended(attempt.slot)
        self._ended += 1
        self._outbox(done)

    def _watch(self, child: ChildProcess, now: float) -> None:
        attempt = child.attempt
        if attempt is None:
            return
        if now >= child.deadline:
            if child.ending:
                child.kill()
            else:
                attempt.end("timeout")
                child.ask("timeout", now + self._settings.cancel_grace)
        limit = attempt.task.max_rss
        if limit is not None and child.over is None:
            size = resident(child.process.pid)
            if size > limit:
                child.over = size
                child.kill()

    def _gone(self, child: ChildProcess, now: float) -> None:
        self._children.remove(child)
        child.close()
        if child.attempt is not None:
            died = self._blamed(child, child.attempt)
            self._done(child, execution.unsure(child.attempt, died))
        elif not child.ready:
            self._cannot_start(reason(child.process.returncode), now)

    def _blamed(self, child: ChildProcess, attempt: Attempt) -> Unsuccessful:
        """The outcome of an attempt whose process is gone without one."""
        if child.over is not None:
            limit = attempt.task.max_rss
            error = MemoryExceeded(
                f"its process had {child.over:.0f} MiB of memory and was killed; "
                f"max_rss is {limit} MiB"
            )
            return execution.failed(attempt, error)
        if attempt.why is not None:
            return execution.cut(attempt)
        what = f"its process died while it ran: {reason(child.process.returncode)}"
        return outcome.crashed(attempt.job, what, self._settings.crash_cap)

    def _fill(self, now: float) -> None:
        """Hand out what waits; start children for the rest."""
        for child in [child for child in self._children if child.idle]:
            try:
                _, attempt = self._waiting.popleft()
            except IndexError:
                return
            attempt.started = True
            attempt.starting()
            attempt.slot = self._board.started(attempt.job.id, apart=True)
            child.hand(attempt, now)
        starting = sum(not child.ready for child in self._children)
        missing = min(len(self._waiting) - starting, self._slots - len(self._children))
        if now < self._start_at:
            missing = 0
        for _ in range(missing):
            try:
                self._children.append(ChildProcess(self._order))
            except OSError as error:
                self._cannot_start(str(error), now)
                return

    def _cannot_start(self, why: str, now: float) -> None:
        """Say so, and wait a while before the next."""
        self._emit(ChildFailed(why, self._pause))
        self._reason = f"no child process can start: {why}"
        self._start_at, self._pause = now + self._pause, min(2 * self._pause, LAST_PAUSE)

    def _give_back(self, delay: float) -> None:
        """Release what waits, for there is no child: another worker may do better."""
        with contextlib.suppress(IndexError):
            while True:
                _, attempt = self._waiting.popleft()
                self._ended += 1
                self._outbox(outcome.release(attempt.job, delay=delay, reason=self._reason))

    def _next_look(self, now: float) -> float:
        pauses = [LONGEST]
        for child in self._children:
            pauses.append(child.deadline - now)
            if child.attempt is not None and child.attempt.task.max_rss is not None:
                pauses.append(SAMPLE)
            if len(child.interest()) < 2 or child.ending:  # noqa: PLR2004 - its end is not told
                pauses.append(SAMPLE)
        if self._waiting and self._start_at > now:
            pauses.append(self._start_at - now)
        return max(min(pauses), 0.001)
