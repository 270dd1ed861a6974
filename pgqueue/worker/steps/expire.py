"""Ends jobs that nobody started before their expires_at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

NAME: Final = "expire"
EVERY: Final = 5.0
"""Seconds. A claim looks at expires_at itself, so this only tidies up."""


class Expire:
    """A step that one worker takes for all."""

    every = EVERY

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit

    def __call__(self, connection: Connection) -> float:
        """Expire a batch."""
        ids = tuple(id_ for id_, _ in store.run(connection, self._settings, "expire"))
        if ids:
            self._emit(events.JobsExpired(len(ids), ids))
        return EVERY
