"""Watches for suspects: jobs that wait to be run alone, each in a process of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection

NEVER: Final = math.inf
AGAIN: Final = 0.25
"""Seconds between two looks while some wait. It looks at once after a death that a supervisor sees,
and when a heartbeat has counted some."""


class WatchSuspects:
    """A step of the supervisor.

    Args:
        settings: limits of time.
        queues: in which to look.
        most: how many to count.
        tell: takes how many are due and wait.
    """

    def __init__(
        self, settings: Settings, queues: Sequence[str], most: int, tell: Callable[[int], None]
    ) -> None:
        self._settings, self._tell = settings, tell
        self._values = {"queues": list(queues), "most": most}

    def __call__(self, connection: Connection) -> float:
        """Look once."""
        [(waiting,)] = store.run(connection, self._settings, "waiting_suspects", self._values)
        self._tell(waiting)
        return AGAIN if waiting else NEVER
