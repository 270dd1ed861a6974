"""Prunes jobs that are past their retention, in bursts so short that nobody waits for them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pgqueue import pruning, store
from pgqueue.pruning import Measure
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.pruning import Part, Table, Walk
    from pgqueue.telemetry.events import Events

NAME: Final = pruning.STEP
IDLE: Final = 10.0
LONGEST_IDLE: Final = 120.0
"""Seconds between two looks while there is nothing to prune: twice as long after each that found
nothing. Prune stays a minute to ten behind in any case."""
BURST: Final = 0.1
"""Seconds of work at once: the other steps of this thread wait no longer than that."""
PASSING: Final = 4.0
"""The pause after a burst of a front that hardly finds anything, in bursts: a fifth of the time is
as fast as jobs can flow, and a front that begins anew in millions of jobs disturbs less."""
LOOKING: Final = 50.0
"""The same of a sweep that finds little: looking may cost a fiftieth of the time."""
LEAST_LOOKING: Final = 10.0
LONGEST_SWEEP: Final = 6 * 3600.0
"""Seconds that a sweep may take: if it would take longer, it looks up to a tenth of the time."""
HURRY: Final = 0.25
"""The same while it is behind."""
BEHIND: Final = 600.0
"""Seconds, and a tenth of the retention: what is overdue by more is worth a word."""
SHORTEST_REST: Final = 60.0
LONGEST_REST: Final = 3600.0
"""Seconds from one sweep to the next: ten times what the last one spent on looking."""
BEHIND_FOR: Final = 60.0
"""Seconds that it takes to be worth it: a worker that starts after a while catches up at once."""
TELL_EVERY: Final = 600.0
"""Seconds between two warnings, and between two sums."""


class Burst:
    """What one turn has done so far."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seen = self.gone = self.passed = 0

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self.began

    def note(self, walk: Walk, part: Part) -> None:
        """Count what a part of a walk did."""
        self.seen += part.seen
        self.gone += part.gone
        self.passed += part.cursor - walk.after

    @property
    def fruitless(self) -> bool:
        """Whether it mostly looked at jobs that stay."""
        return self.gone * 4 < self.seen

    @property
    def barren(self) -> bool:
        """Whether hardly any of the jobs that it looked at went."""
        return self.gone * 100 < self.seen

    def looking(self, newest: int) -> float:
        """The pause after it, in bursts, of a sweep that finds little."""
        whole = self.spent * newest / max(self.passed, 1)
        return min(max(LONGEST_SWEEP / whole, LEAST_LOOKING), LOOKING)


class Prune:
    """A step: first the fronts, the one with the most to do before the others, then the sweeps.

    While there is something to delete it works half of the time, or four fifths when it is behind;
    while it only looks, a fifth, and in a sweep a fiftieth. A busy server gets smaller transactions
    by itself: each takes on what the last one says can be done in 20 ms.
    """

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit
        self._measure = Measure()
        self.every = IDLE
        self._looked: dict[str, float] = {}
        self._gone, self._since = 0, time.monotonic()
        self._behind_since: float | None = None
        self._warned = -TELL_EVERY

    def __call__(self, connection: Connection) -> float:
        """Prune for a burst."""
        burst, gone = Burst(), self._gone
        table = pruning.table(connection, self._settings)
        pause = self._go(connection, table, burst)
        if pause == IDLE and gone == self._gone:
            pause, self.every = self.every, min(2 * self.every, LONGEST_IDLE)
        else:
            self.every = IDLE
        self._tell_sum()
        return pause

    def _go(self, connection: Connection, table: Table, burst: Burst) -> float:
        """Work until all is done, or the time is up; the pause after it."""
        for walk in table.fronts():
            overdue = self._walk(connection, walk, table.newest, burst)
            if overdue is not None:
                return burst.spent * self._patience(overdue, walk, burst)
        self._behind_since = None
        for walk in table.sweeps():
            pause = self._sweep(connection, walk, table.newest)
            if pause is not None:
                return pause
        return IDLE

    def _sweep(self, connection: Connection, walk: Walk, newest: int) -> float | None:
        """Go on with a sweep; the pause after it when it is not done."""
        burst = Burst()
        unfinished = self._walk(connection, walk, newest, burst) is not None
        if burst.fruitless:
            self._looked[walk.name] = self._looked.get(walk.name, 0.0) + burst.spent
        if unfinished:
            return burst.spent * (burst.looking(newest) if burst.fruitless else 1.0)
        rest = 10 * self._looked.pop(walk.name, 0.0)
        rest = min(max(rest, SHORTEST_REST), LONGEST_REST)
        values = {"name": NAME, "walk": walk.name, "seconds": rest}
        store.run(connection, self._settings, "prune_rest", values)
        return None

    def _walk(self, connection: Connection, walk: Walk, newest: int, burst: Burst) -> float | None:
        """Go on to the end, None, or until the time is up: the seconds that it is overdue then.

        At least one part, so that every walk comes to its end however slow the server is.
        """
        while walk.after < newest:
            part = pruning.part(connection, self._settings, walk, newest, self._measure)
            burst.note(walk, part)
            self._gone += part.gone
            walk = replace(walk, after=part.cursor)
            if part.young:
                break
            if burst.spent > BURST and walk.after < newest:
                return part.overdue
        return None

    def _patience(self, overdue: float, walk: Walk, burst: Burst) -> float:
        """The pause in bursts, shorter for who is behind; says so when that lasts."""
        if burst.barren:
            return PASSING
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
