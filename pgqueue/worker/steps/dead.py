"""Says when dead jobs pile up: they are kept until an operator decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store
from pgqueue.telemetry import events
from pgqueue.views import COUNT_CAP
from pgqueue.views.upkeep import REACH, are_many_dead

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

NAME: Final = "dead"
EVERY: Final = 3600.0
"""Seconds between two warnings, whichever worker gives them."""


class WatchDead:
    """A step that one worker takes for all."""

    every = EVERY

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit

    def __call__(self, connection: Connection) -> float:
        """Count, and warn of many, or of old ones."""
        bounds = {"cap": COUNT_CAP + 1, "reach": REACH}
        [(count, oldest)] = store.run(connection, self._settings, "count_dead", bounds)
        if are_many_dead(count, oldest):
            counted = min(count, COUNT_CAP)
            self._emit(events.DeadJobsKept(counted, count > COUNT_CAP, oldest or 0.0))
        return EVERY
