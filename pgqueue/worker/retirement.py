"""When a worker has done enough: it drains and ends, and its supervisor starts another."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

from pgqueue.errors import ConfigError
from pgqueue.worker.resources import resident

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.config import Settings
    from pgqueue.worker.stuck import Stuck

EARLIEST: Final = 0.9
"""Of a limit: each worker draws its own between this and the whole, so that those that were
started together do not retire together."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the memory."""


class Retirement:
    """One worker's limits.

    Args:
        settings: gives them.
        stuck: counts handlers that would not end.

    Raises:
        ConfigError: the process has more memory than it may before its first job.
    """

    def __init__(self, settings: Settings, stuck: Stuck) -> None:
        self._stuck, self._most_stuck = stuck, settings.most_stuck
        self._max_jobs = _drawn(settings.max_jobs)
        self._max_rss = _drawn(settings.max_rss)
        self._look_at = 0.0
        if self._max_rss is not None and (size := resident(os.getpid())) > self._max_rss:
            raise ConfigError(
                f"max_rss={settings.max_rss!r} is too small: a worker that has loaded the app has "
                f"{size:.0f} MiB before its first job"
            )

    def reason(self, jobs: Callable[[], int], now: float) -> str | None:
        """Why the worker should retire now, if it should.

        Args:
            jobs: tells how many have run here.
            now: monotonic seconds.
        """
        if (stuck := self._stuck.count) >= self._most_stuck:
            return f"{stuck} handlers are stuck (max_stuck is {self._most_stuck})"
        if self._max_jobs is not None and (ended := jobs()) >= self._max_jobs:
            return f"it has run {ended} jobs (max_jobs)"
        if self._max_rss is None or now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY
        size = resident(os.getpid())
        return f"it has {size:.0f} MiB of memory (max_rss)" if size > self._max_rss else None


def _drawn(limit: int | None) -> float | None:
    return None if limit is None else limit * random.uniform(EARLIEST, 1.0)  # noqa: S311 - jitter
