"""When an idle worker looks for work again, and whether it wants to be notified. Pure.

NOTIFY takes a database-wide lock through the commit of each enqueue (8,600 instead of 19,900
commits/s at 8 producers), so a worker asks for it only while jobs come slowly. While they come
fast it looks again every few milliseconds, which serves a whole batch of them at once.
"""

from __future__ import annotations

import heapq
import math
import random
from typing import Final

FAST: Final = 1000.0
"""Jobs a second from which on a worker polls instead of being notified."""
SLOW: Final = 500.0
"""Jobs a second below which it wants to be notified again: apart from FAST, so it won't flap."""
WINDOW: Final = 0.5
"""Seconds over which the rate is measured."""
FAST_POLL: Final = 0.005
"""Seconds between two looks while jobs come fast."""
FULL_FOR: Final = 1.0
"""Seconds without room after which being notified would be noise."""


class Pace:
    """Watches how fast one worker's jobs come.

    Args:
        poll_interval: mean seconds between two looks of an idle worker.
        now: monotonic seconds.
    """

    def __init__(self, poll_interval: float, now: float) -> None:
        self._poll_interval = poll_interval
        self._window_start = now
        self._count = 0
        self._full_since: float | None = None
        self._expected: list[float] = []
        self.fast = False

    def expect(self, at: float, now: float) -> float:
        """Note when a job is due again, unless a look before will find it anyway; that time."""
        if at < now + 2 * self._poll_interval:
            heapq.heappush(self._expected, at)
        return at

    def claimed(self, count: int, now: float) -> None:
        """Count the jobs of a claim, none included."""
        self._count += count
        passed = now - self._window_start
        if passed >= WINDOW:
            rate = self._count / passed
            self.fast = rate > (SLOW if self.fast else FAST)
            self._window_start, self._count = now, 0

    def room(self, room: int, now: float) -> None:
        """Note whether there is room for another job."""
        if room > 0:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now

    def full(self, now: float) -> bool:
        """Whether there has been no room for a while."""
        return self._full_since is not None and now - self._full_since > FULL_FOR

    def soonest(self) -> float:
        """When the next job that is expected is due; infinity when none is."""
        return self._expected[0] if self._expected else math.inf

    def pause(self, now: float) -> float:
        """Seconds until the next look for work."""
        while self._expected and self._expected[0] <= now:
            heapq.heappop(self._expected)
        if self.fast:
            return FAST_POLL
        pause = self._poll_interval * random.uniform(0.67, 1.33)  # noqa: S311 - jitter
        return min(pause, self._expected[0] - now) if self._expected else pause
