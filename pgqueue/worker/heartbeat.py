"""Heartbeats: one statement for all workers of a supervisor, or of a program that embeds one.

A supervisor beats for its workers: a call that holds the interpreter's lock silences a thread of
the worker itself (a C call of 4 s left one silent for 4 s).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.config import Settings
    from pgqueue.connections import Connection


class Heartbeat:
    """A step.

    Args:
        settings: gives the pause and the limits of time.
        living: the ids of the workers to beat for, asked each time.
        beaten: told the ids whose beat was confirmed, with the monotonic second before it.
        missing: told the ids that somebody else has declared dead.
    """

    def __init__(
        self,
        settings: Settings,
        living: Callable[[], list[int]],
        beaten: Callable[[list[int], float], None],
        missing: Callable[[list[int]], None],
    ) -> None:
        self._settings, self._living = settings, living
        self._beaten, self._missing = beaten, missing
        self._since: float | None = None
        self._last = 0.0

    def __call__(self, connection: Connection) -> float:
        """Beat once."""
        before = time.monotonic()
        ids = self._living()
        values = {"ids": store.array(ids)}
        confirmed = {row[0] for row in store.run(connection, self._settings, "heartbeat", values)}
        self._note(before)
        if confirmed:
            self._beaten([id_ for id_ in ids if id_ in confirmed], before)
        if lost := [id_ for id_ in ids if id_ not in confirmed]:
            self._missing(lost)
        return max(self._settings.heartbeat - (time.monotonic() - before), 0.0)

    def trusted_since(self) -> float | None:
        """Monotonic seconds since when beats succeed without a gap; None when they do not."""
        late = time.monotonic() - self._last > 2 * self._settings.heartbeat
        return None if late else self._since

    def _note(self, now: float) -> None:
        gap = now - self._last > 2 * self._settings.heartbeat
        if self._since is None or gap:
            self._since = now
        self._last = now
