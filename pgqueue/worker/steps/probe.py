"""The probe: finds what the floors hide, once for all workers, and tells this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pgqueue.config import Settings
    from pgqueue.connections import Connection

NAME: Final = "probe"
EVERY: Final = 1.8
"""Seconds: a job below the floors waits no longer than about two of these."""


class Probe:
    """A step for the maintenance loop.

    Args:
        settings: limits of time.
        queues: whose heads to tell.
        tell: takes (queue, priority, run_at, id) of each lane that has due jobs.
    """

    def __init__(
        self,
        settings: Settings,
        queues: Sequence[str],
        tell: Callable[[list[tuple[str, int, datetime, int]]], None],
    ) -> None:
        self._settings, self._queues, self._tell = settings, list(queues), tell

    def __call__(self, connection: Connection) -> float:
        """Probe when it is this worker's turn; read what was found in any case."""
        turn = {"name": NAME, "every": EVERY}
        if store.run(connection, self._settings, "take_step", turn):
            store.run(connection, self._settings, "probe")
        heads = store.run(connection, self._settings, "lanes", {"queues": self._queues})
        self._tell([(queue, priority, at, id_) for queue, priority, at, id_ in heads])
        return EVERY
