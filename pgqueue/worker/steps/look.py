"""The look: what each worker asks every two seconds, in one statement, idle or not.

One worker probes for all: it finds the true head of every lane. So who sleeps need not look for
work itself. It asks for all turns of maintenance at once, and hears when the next job is due.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store
from pgqueue.worker.steps.rota import Exactly

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.worker.inbox import Inbox

NAME: Final = "probe"
EVERY: Final = 2.0
"""Seconds between two looks of a worker."""
PROBE_EVERY: Final = 1.75
"""Seconds between two probes of all workers together. Shorter than a worker's pause at its
shortest: so a lone worker probes at each look, and of many each finds one that is hardly older."""
SOONEST: Final = 0.2
"""Seconds: jobs that come due one after the other are not looked for more often than this."""
FRESH: Final = 0.05
"""Seconds for which a probe is enough when a job has just come due."""
MARGIN: Final = 0.005
"""Seconds after a job has come due at which it is looked for."""
LATE: Final = 1.15
"""What was seen holds for so many pauses: then the next look, or the last probe, is late."""


class Look:
    """Asks once, and tells the exchange what was seen.

    Args:
        settings: limits of time.
        queues: whose heads to tell.
        inbox: the exchange's.
    """

    def __init__(self, settings: Settings, queues: list[str], inbox: Inbox) -> None:
        self._settings, self._queues, self._inbox = settings, queues, inbox
        self._holds = min(EVERY * LATE, settings.poll_interval * 1.5)
        self._next_at: float | None = None
        self._heads: list[tuple[str, int, datetime, int]] = []
        self._probes = True

    def __call__(
        self, connection: Connection, wanted: Mapping[str, float]
    ) -> tuple[list[str], float]:
        """Look once.

        Args:
            connection: in autocommit mode.
            wanted: seconds between two turns, by the name of the step.

        Returns:
            The steps whose turn it is and that have something to do, and the seconds until the
            next look.

        Raises:
            psycopg.Error: the look failed. The next one leaves the probe out, so that a probe that
                takes too long does not keep the steps from their turns.
        """
        before = time.monotonic()
        pauses = {**wanted, NAME: self._probe_pause(before)} if self._probes else dict(wanted)
        self._probes = not self._probes
        rows = store.run(connection, self._settings, "look", self._values(pauses))
        self._probes = True
        soonest, news = _seconds(rows, "next"), self._tell(rows, before)
        return _turns(rows), self._pause(soonest, before, news=news)

    def _pause(self, soonest: float | None, before: float, *, news: bool) -> float:
        """The seconds until the next look: none is late when it is known when a job comes due."""
        now, came_due = time.monotonic(), self._came_due(before)
        if came_due and news:
            # It stands before the next one of its lane, which is seen when it was claimed.
            soonest = min(soonest or SOONEST, SOONEST)
        if soonest is not None:
            self._next_at = now + soonest + MARGIN
        elif came_due:
            self._next_at = None
        left = EVERY if self._next_at is None else self._next_at - now
        return EVERY if left >= EVERY else Exactly(max(left, SOONEST))

    def _came_due(self, now: float) -> bool:
        return self._next_at is not None and now >= self._next_at

    def _probe_pause(self, now: float) -> float:
        return FRESH if self._came_due(now) else PROBE_EVERY

    def _values(self, pauses: Mapping[str, float]) -> dict[str, Any]:
        return {
            "names": list(pauses),
            "pauses": list(pauses.values()),
            "queues": self._queues,
            "echo": self._inbox.take_echo(),
        }

    def _tell(self, rows: list[tuple[Any, ...]], at: float) -> bool:
        """Tell what was seen; whether it is something else than the last time."""
        heads: list[tuple[str, int, datetime, int]] = [
            (queue, priority, run_at, id_)
            for kind, queue, priority, run_at, id_, _ in rows
            if kind == "head"
        ]
        news, self._heads = bool(heads) and heads != self._heads, heads
        age = _seconds(rows, "probed")
        stale = age is None or age > EVERY * LATE
        self._inbox.looked(heads, 0.0 if stale else at + self._holds)
        return news


def _seconds(rows: list[tuple[Any, ...]], wanted: str) -> float | None:
    return next((seconds for kind, *_, seconds in rows if kind == wanted), None)


def _turns(rows: list[tuple[Any, ...]]) -> list[str]:
    return [name for kind, name, *_ in rows if kind == "turn"]
