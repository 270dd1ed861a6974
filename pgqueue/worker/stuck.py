"""Handlers that would not end: their slots are written off, and they run on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pgqueue.telemetry.events import HandlerStuck, StuckHandlerEnded

if TYPE_CHECKING:
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.parts import Attempt


class Stuck:
    """Counts them, and tells of each; safe from any thread.

    Args:
        emit: takes events.
    """

    def __init__(self, emit: Events) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self.count = 0

    def add(self, attempt: Attempt) -> None:
        """Note that an attempt is written off."""
        with self._lock:
            self.count += 1
        why = attempt.why or ""
        self._emit(HandlerStuck(attempt.job.id, attempt.job.task, attempt.task.executor, why))

    def ended(self, attempt: Attempt) -> None:
        """Note that one of them has ended after all."""
        with self._lock:
            self.count -= 1
        self._emit(StuckHandlerEnded(attempt.job.id, attempt.job.task))
