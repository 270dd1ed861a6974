"""Counts how deep the queues with a limit are, so that producers need not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

NAME: Final = "depths"
EVERY: Final = 1.0
"""Seconds between two counts, while some queue has a limit."""


class CountDepths:
    """A step that one worker takes for all."""

    every = EVERY

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit

    def __call__(self, connection: Connection) -> float:
        """Count, and tell which queues became full, or have room."""
        counted = store.run(connection, self._settings, "count_depths")
        for queue, depth, max_depth, is_full, was_full in counted:
            if is_full != was_full:
                kind = events.QueueFilled if is_full else events.QueueDrained
                self._emit(kind(queue, depth, max_depth))
        return EVERY
