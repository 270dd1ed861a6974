"""Cells: processes in which suspects run, each alone. How many there should be. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.worker.process import Order

MOST: Final = 8
"""Suspects that run at the same time; the others wait for one of them to end."""
PAUSE: Final = 0.25
"""Seconds between two starts: what waits may be done before the next process is up."""
SLOTS: Final = 3
"""A handler of each kind; only one runs."""
ALONE: Final = {
    "concurrency": 1,
    "threads": 1,
    "children": 1,
    "poll_interval": 0.1,
    "listen": False,
}


class Cells:
    """When a supervisor starts another cell.

    Attributes:
        waiting: suspects that wait.
        order: what a cell is told.
    """

    def __init__(self, order: Order) -> None:
        settings = {**order.settings, **ALONE}
        self.order = dataclasses.replace(order, settings=settings, cell=True)
        self.waiting = 0
        self._not_before = 0.0

    def wait(self, count: int) -> None:
        """Note how many suspects wait."""
        self.waiting = count

    def wants(self, running: Sequence[bool], now: float) -> bool:
        """Whether to start one now; `running`: for each cell, whether its suspect has started."""
        free = len(running) - sum(running)
        if now < self._not_before or len(running) >= MOST or self.waiting <= free:
            return False
        self._not_before = now + PAUSE
        return True

    def ended(self, now: float, pause: float) -> None:
        """One has ended: the next may start after so many seconds."""
        self._not_before = now + pause
