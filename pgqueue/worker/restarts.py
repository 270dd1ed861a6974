"""How soon a worker that died is started again. Pure, but for reading a monotonic clock."""

from __future__ import annotations

import signal
import time
from typing import Final

YOUNG: Final = 10.0
"""Seconds: a worker that dies younger is restarted with a growing pause."""
LONGEST_PAUSE: Final = 30.0
STEP: Final = 0.1
"""Seconds by which the pause grows with each young death that a job may have caused: such deaths
end by themselves, for each brings somebody nearer to the cap."""


class Restarts:
    """Counts the young deaths in a row."""

    def __init__(self) -> None:
        self._young = 0

    def pause(self, born: float, *, guilty: bool) -> float:
        """Seconds until the next start.

        Args:
            born: monotonic seconds, when the one that died was started.
            guilty: one of its jobs may have been; else it is the code.
        """
        if time.monotonic() - born > YOUNG:
            self._young = 0
            return 0.0
        self._young += 1
        if guilty:
            return min(STEP * (self._young - 1), LONGEST_PAUSE)
        return 0.0 if self._young == 1 else min(2.0 ** (self._young - 2), LONGEST_PAUSE)


def reason(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
