"""Deletes what was left behind: waits of processes that are gone, progress of deleted jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection

NAME: Final = "leftovers"
EVERY: Final = 120.0
"""Seconds. Nothing waits for this: what is left costs a look each, and a little room."""


class SweepLeftovers:
    """A step that one worker takes for all."""

    every = EVERY

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, connection: Connection) -> float:
        """Sweep once."""
        store.run(connection, self._settings, "sweep_leftovers")
        return EVERY
