"""Looks at attempts whose time is up: on a thread of its own, started with the first of them.

Jobs without a timeout never come here.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from pgqueue.worker.loop import guard

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.worker.parts import Attempt


class Watch:
    """Keeps the deadlines of attempts that run; safe from any thread.

    Args:
        overdue: called with an attempt on the watch's thread when its time is up; it returns the
            seconds until it wants to be called again, or None.
        failed: told of an error that ends the thread.
    """

    def __init__(
        self,
        overdue: Callable[[Attempt], float | None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._overdue, self._failed = overdue, failed
        self._deadlines: dict[Attempt, float] = {}
        self._changed = threading.Condition()
        self._next = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, attempt: Attempt, seconds: float) -> None:
        """Watch an attempt: its time is up in so many seconds."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._deadlines[attempt] = deadline
            if self._thread is None:
                self._thread = threading.Thread(
                    target=guard, args=(self._run, self._failed), name="pgqueue-watch", daemon=True
                )
                self._thread.start()
            elif deadline < self._next:
                self._changed.notify()

    def remove(self, attempt: Attempt) -> None:
        """Watch it no more."""
        with self._changed:
            self._deadlines.pop(attempt, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            for attempt in self._late():
                again = self._overdue(attempt)
                if again is not None:
                    self.add(attempt, again)

    def _late(self) -> list[Attempt]:
        """Wait until there may be some; those whose time is up."""
        with self._changed:
            self._next = min(self._deadlines.values(), default=math.inf)
            pause = self._next - time.monotonic()
            if pause > 0 and not self._closed:
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
            now = time.monotonic()
            late = [attempt for attempt, at in self._deadlines.items() if at <= now]
            for attempt in late:
                del self._deadlines[attempt]
        return late
