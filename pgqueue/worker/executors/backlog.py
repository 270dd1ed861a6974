"""How many attempts an executor takes beyond its slots, so that none of them runs dry. Pure."""

from __future__ import annotations

from typing import Final

HORIZON: Final = 0.05
"""Seconds of work to keep at hand: several exchanges at full speed, and not enough to matter to
another worker that could have had it."""
WINDOW: Final = 0.025
"""Seconds over which a rate means something."""
SHORTEST: Final = 0.002
"""The same at the start, when any rate is better than none."""
MOST: Final = 3000
"""Three full claims: one runs, one waits here, one is on its way. More jobs at hand are slower, for
they leave the processor's cache."""


class Backlog:
    """Learns from how fast attempts end.

    A job that takes a second leaves no backlog at all: nothing waits here that another worker
    could run. A job that takes microseconds leaves two thousand.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self._ended = 0
        self._since: float | None = None

    def size(self, ended: int, in_hand: int, now: float) -> int:
        """How many attempts to hold beyond the slots.

        Args:
            ended: attempts that have ended since the start.
            in_hand: attempts held now.
            now: monotonic seconds.
        """
        idle = in_hand == 0 and ended == self._ended
        if self._since is None or idle:
            self._since, self._ended = now, ended
            return min(int(self._rate * HORIZON), MOST)
        passed = now - self._since
        # In less time than WINDOW, what ends is noise: an exchange is waited for, or has just come.
        if passed > (WINDOW if self._rate or ended == self._ended else SHORTEST):
            self._rate += 0.5 * ((ended - self._ended) / passed - self._rate)
            self._since, self._ended = now, ended
        return min(int(self._rate * HORIZON), MOST)
