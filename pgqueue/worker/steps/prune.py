"""Prunes jobs that are past their retention, in bursts so short that nobody waits for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pgqueue import pruning, store
from pgqueue.pruning import Measure, Walk
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.pruning import Part, Table
    from pgqueue.telemetry.events import Events

NAME: Final = pruning.STEP
IDLE: Final = 10.0
"""Seconds between two looks while there is nothing to prune, or another worker prunes."""
BURST: Final = 0.1
"""Seconds of work at once: the other steps of this thread wait no longer than that."""
LOOKING: Final = 10.0
"""The pause after a burst that found little, in bursts: looking may cost a tenth of the time."""
HURRY: Final = 0.25
"""The same while it is behind."""
BEHIND: Final = 600.0
"""Seconds, and a tenth of the retention: what is overdue by more is worth a word."""
SHORTEST_REST: Final = 60.0
LONGEST_REST: Final = 6 * 3600.0
"""Seconds from one sweep to the next: fifty times what the last one spent on looking."""
BEHIND_FOR: Final = 60.0
"""Seconds that it takes to be worth it: a worker that starts after a while catches up at once."""
TELL_EVERY: Final = 600.0
"""Seconds between two warnings, and between two sums."""


class Burst:
    """What one turn has done so far."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seen = self.gone = 0

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self.began

    def note(self, part: Part) -> None:
        """Count what a part did."""
        self.seen += part.seen
        self.gone += part.gone

    @property
    def fruitless(self) -> bool:
        """Whether it mostly looked at jobs that stay."""
        return self.gone * 4 < self.seen


class Prune:
    """A step: first the fronts, the one with the most to do before the others, then the sweep.

    While there is something to delete it works half of the time, or four fifths when it is behind;
    while it only looks, a tenth. A busy server gets smaller transactions by itself: each takes on
    what the last one says can be done in 20 ms.
    """

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit
        self._measure = Measure()
        self._pause = IDLE
        self._looked = 0.0
        self._gone, self._since = 0, time.monotonic()
        self._behind_since: float | None = None
        self._warned = -TELL_EVERY

    def __call__(self, connection: Connection) -> float:
        """Prune for a burst when it is this worker's turn."""
        turn = {"name": NAME, "every": 0.8 * self._pause}
        if not store.run(connection, self._settings, "take_step", turn):
            self._pause = IDLE
            return IDLE
        burst = Burst()
        table = pruning.table(connection, self._settings)
        self._pause = self._go(connection, table, burst)
        self._tell_sum()
        return self._pause

    def _go(self, connection: Connection, table: Table, burst: Burst) -> float:
        """Work until all is done, or the time is up; the pause after it."""
        for walk in table.fronts():
            overdue = self._walk(connection, walk, table.newest, burst)
            if overdue is not None:
                return burst.spent * self._patience(overdue, walk)
        self._behind_since = None
        if (sweep := table.sweep()) is None:
            return IDLE
        return self._sweep(connection, sweep, table.newest)

    def _sweep(self, connection: Connection, walk: Walk, newest: int) -> float:
        burst = Burst()
        unfinished = self._walk(connection, walk, newest, burst) is not None
        if burst.fruitless:
            self._looked += burst.spent
        if unfinished:
            return burst.spent * (LOOKING if burst.fruitless else 1.0)
        rest = min(max(50 * self._looked, SHORTEST_REST), LONGEST_REST)
        store.run(connection, self._settings, "prune_rest", {"name": NAME, "seconds": rest})
        self._looked = 0.0
        return IDLE

    def _walk(self, connection: Connection, walk: Walk, newest: int, burst: Burst) -> float | None:
        """Go on to the end, None, or until the time is up: the seconds that it is overdue then.

        At least one part, so that every walk comes to its end however slow the server is.
        """
        while walk.after < newest:
            part = pruning.part(connection, self._settings, walk, newest, self._measure)
            burst.note(part)
            self._gone += part.gone
            walk = Walk(walk.name, walk.young, part.cursor)
            if part.young:
                break
            if burst.spent > BURST and walk.after < newest:
                return part.overdue
        return None

    def _patience(self, overdue: float, walk: Walk) -> float:
        """The pause in bursts, shorter for who is behind; says so when that lasts."""
        if overdue < BEHIND + walk.young / 10:
            self._behind_since = None
            return 1.0
        now = time.monotonic()
        since = self._behind_since = self._behind_since or now
        if now - since >= BEHIND_FOR and now - self._warned >= TELL_EVERY:
            self._warned = now
            rate = self._gone / max(now - self._since, 1.0)
            self._emit(events.PruneBehind(overdue, rate))
        return HURRY

    def _tell_sum(self) -> None:
        now = time.monotonic()
        if now - self._since >= TELL_EVERY:
            if self._gone:
                self._emit(events.JobsPruned(self._gone, now - self._since))
            self._gone, self._since = 0, now
