"""What a worker tells of recorded outcomes: each failure, and in sum what was held back."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from pgqueue.telemetry.events import JobFailed, JobsHeldBack

if TYPE_CHECKING:
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Unsuccessful
    from pgqueue.telemetry.events import Events

HELD_BACK_EVERY: Final = 60.0
"""Seconds between two events about the same task."""


class Telling:
    """Makes events of outcomes.

    Args:
        emit: takes them.
    """

    def __init__(self, emit: Events) -> None:
        self._emit = emit
        self._held_back: Counter[str] = Counter()
        self._told: dict[str, float] = {}

    def __call__(self, done: Unsuccessful, job: ClaimedJob) -> None:
        """Tell of an outcome that is recorded now."""
        if done.ending in ("retried", "dead"):
            delay = done.delay if done.state == "ready" else None
            kind, message = done.error_type or "", done.message or ""
            names = (job.id, job.task, job.attempt)
            self._emit(JobFailed(*names, kind, message, delay, job.queue))
        elif done.ending is None and done.message is not None:
            self._hold_back(job.task, done.delay, done.message)

    def _hold_back(self, task: str, delay: float, reason: str) -> None:
        """Each task once a minute: its jobs come again until somebody has acted."""
        now = time.monotonic()
        self._held_back[task] += 1
        if now - self._told.get(task, now - HELD_BACK_EVERY) >= HELD_BACK_EVERY:
            self._told[task] = now
            self._emit(JobsHeldBack(task, self._held_back.pop(task), delay, reason))
