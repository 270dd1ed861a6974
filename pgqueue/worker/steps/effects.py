"""Sweeps away effects whose time is over, claims left behind, and checkpoints of no job.

So whoever deletes jobs, prune or an ephemeral task's finish, needs not think of checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection

NAME: Final = "effects"
EVERY: Final = 30.0
"""Seconds. `once` looks at the time itself, so this only tidies up."""

PART: Final = 1000
"""Rows in one statement."""

PARTS: Final = 50
"""Parts of one turn at most."""


class SweepEffects:
    """A step that deletes what is over, and walks through the checkpoints, a part at a time."""

    every = EVERY

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, connection: Connection) -> float:
        """Sweep once."""
        self._expire(connection)
        self._walk(connection)
        return EVERY

    def _expire(self, connection: Connection) -> None:
        for _ in range(PARTS):
            part = {"size": PART}
            [(gone,)] = store.run(connection, self._settings, "effects_expire", part)
            if gone < PART:
                return

    def _walk(self, connection: Connection) -> None:
        for _ in range(PARTS):
            part = {"name": NAME, "size": PART}
            [(seen, _)] = store.run(connection, self._settings, "checkpoints_sweep", part)
            if not seen:
                return
