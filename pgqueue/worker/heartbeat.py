"""Heartbeats: one statement for all workers of a supervisor, or of a program that embeds one.

A supervisor beats for its workers: a call that holds the interpreter's lock silences a thread of
the worker itself (a C call of 4 s left one silent for 4 s). The same statement says who else has
fallen silent, and how many suspects wait: all that somebody outside of a worker watches for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection

EVERY: Final = 3.0
"""Seconds between two beats at most: it also looks for others."""
SLACK: Final = 0.05
"""Seconds after the moment at which a worker is dead if it does not beat until then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a beat saw.

    Attributes:
        confirmed: the workers whose beat counts.
        silent: the workers that are dead, unless they beat after all.
        soonest: seconds until the next of the others is; None without others.
        suspects: how many wait for a cell.
    """

    confirmed: frozenset[int]
    silent: tuple[int, ...]
    soonest: float | None
    suspects: int


class Heartbeat:
    """A step.

    Args:
        settings: gives the pause and the limits of time.
        living: the ids of the workers to beat for, asked each time.
        beaten: told the ids whose beat was confirmed, with the monotonic second before it.
        missing: told the ids that somebody else has declared dead.
        seen: told what else the beat saw.
        queues: in which to count suspects.
        most: how many suspects to count.
    """

    def __init__(
        self,
        settings: Settings,
        living: Callable[[], list[int]],
        beaten: Callable[[list[int], float], None],
        missing: Callable[[list[int]], None],
        seen: Callable[[Seen], None],
        *,
        queues: Sequence[str] = (),
        most: int = 0,
    ) -> None:
        self._settings, self._living = settings, living
        self._beaten, self._missing, self._seen = beaten, missing, seen
        self._suspects = {"queues": list(queues), "most": most}
        self._pause = min(settings.heartbeat, EVERY)
        self._since: float | None = None
        self._last = 0.0

    def __call__(self, connection: Connection) -> float:
        """Beat once; the next beat comes earlier when somebody may be dead before that."""
        before = time.monotonic()
        ids = self._living()
        seen = self._beat(connection, ids)
        self._note(before)
        if seen.confirmed:
            self._beaten([id_ for id_ in ids if id_ in seen.confirmed], before)
        if lost := [id_ for id_ in ids if id_ not in seen.confirmed]:
            self._missing(lost)
        self._seen(seen)
        pause = max(self._pause - (time.monotonic() - before), 0.0)
        return pause if seen.soonest is None else min(pause, seen.soonest + SLACK)

    def _beat(self, connection: Connection, ids: list[int]) -> Seen:
        values: dict[str, Any] = {"ids": store.array(ids), **self._suspects}
        try:
            rows = store.run(connection, self._settings, "heartbeat", values)
        except (errors.LockNotAvailable, errors.QueryCanceled):
            # Who must stand still meanwhile is not dead, and what runs must not be cut.
            alone = {"ids": values["ids"]}
            rows = store.run(connection, self._settings, "heartbeat_alone", alone)
        named: dict[str, list[int]] = {"beat": [], "silent": []}
        counts: dict[str, float | None] = {}
        for kind, id_, number in rows:
            if kind in named:
                named[kind].append(id_)
            else:
                counts[kind] = number
        confirmed, silent = frozenset(named["beat"]), tuple(named["silent"])
        return Seen(confirmed, silent, counts.get("next"), int(counts.get("suspects") or 0))

    def trusted_since(self) -> float | None:
        """Monotonic seconds since when beats succeed without a gap; None when they do not."""
        late = time.monotonic() - self._last > 2 * self._settings.heartbeat
        return None if late else self._since

    def _note(self, now: float) -> None:
        gap = now - self._last > 2 * self._settings.heartbeat
        if self._since is None or gap:
            self._since = now
        self._last = now
