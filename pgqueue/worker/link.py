"""A connection that a part keeps for itself: opened when needed, dropped when broken."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from pgqueue import connections, store
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

SHORT_PAUSE: Final = 0.1
"""Seconds after the first failure; doubled up to LONG_PAUSE."""
LONG_PAUSE: Final = 3.0
READ_ONLY: Final = "25006"


class Link:
    """One part's connection, and how it bears the loss of it.

    Args:
        part: the part's name, for messages.
        dsn: the database.
        settings: limits of time.
        emit: takes events.
    """

    def __init__(self, part: str, dsn: str, settings: Settings, emit: Events) -> None:
        self._part, self._dsn, self._settings, self._emit = part, dsn, settings, emit
        self._connection: Connection | None = None
        self._failures = 0
        self.fresh = False

    def connection(self) -> Connection:
        """The connection; `fresh` says whether it was opened just now.

        Raises:
            ConnectionFailed: the database does not answer.
        """
        self.fresh = self._connection is None or self._connection.closed
        if self._connection is None or self.fresh:
            hold = store.held_limits(self._settings)
            self._connection = connections.connect(self._dsn, self._settings, self._part, hold=hold)
        return self._connection

    def worked(self) -> None:
        """Note that the database answers."""
        if self._failures:
            self._failures = 0
            self._emit(events.DatabaseBack(self._part))

    def failed(self, error: Exception) -> float:
        """Note a failure; the pause before the next try, in seconds."""
        if getattr(error, "sqlstate", None) == READ_ONLY:
            # A pooler or a failover left us with a standby: the next connection finds the primary.
            self.close()
        self._failures += 1
        pause = min(SHORT_PAUSE * 2.0 ** min(self._failures - 1, 10), LONG_PAUSE)
        pause *= random.uniform(0.7, 1.3)  # noqa: S311 - jitter
        self._emit(events.DatabaseLost(self._part, " ".join(str(error).split()), pause))
        return pause

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
