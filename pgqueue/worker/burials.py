"""Burials: workers whose process is gone, until the table says so too."""

from __future__ import annotations

import dataclasses
import queue
import time
from typing import TYPE_CHECKING, Final

import psycopg

from pgqueue.errors import ConnectionFailed
from pgqueue.worker.steps.rescue import bury

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

TICK: Final = 0.05
"""Seconds between two looks whether all are buried."""


@dataclasses.dataclass(frozen=True, slots=True)
class Death:
    """A worker whose process is gone.

    Attributes:
        worker_id: its row.
        started: jobs whose handlers ran when it died.
        ended: jobs whose handlers had ended there, or ran in processes of their own: whatever it
            died of, it was none of them.
        intended: nobody is to blame: it was fenced, or killed on purpose.
    """

    worker_id: int
    started: tuple[int, ...]
    ended: tuple[int, ...]
    intended: bool


class Burials:
    """Deaths on their way from the thread that sees them to the one that writes them down.

    Args:
        settings: limits and pauses.
        emit: takes events.
    """

    def __init__(self, settings: Settings, emit: Events) -> None:
        self._settings, self._emit = settings, emit
        self._deaths: queue.SimpleQueue[Death] = queue.SimpleQueue()
        # Two counts, for each is written by one thread.
        self._added = self._buried = 0

    def add(self, death: Death) -> None:
        """Somebody has died."""
        self._added += 1
        self._deaths.put(death)

    def bury(self, connection: Connection) -> bool:
        """Bury who has died; whether somebody has.

        Raises:
            psycopg.Error, ConnectionFailed: the database does not take it; it is kept for later.
        """
        if self._deaths.empty():
            return False
        while not self._deaths.empty():
            death = self._deaths.get()
            try:
                bury(connection, self._settings, emit=self._emit, **dataclasses.asdict(death))
            except (psycopg.Error, ConnectionFailed):
                self._deaths.put(death)
                raise
            self._buried += 1
        return True

    def wait(self) -> None:
        """Wait until all are buried, as long as one statement may take."""
        deadline = time.monotonic() + self._settings.statement_timeout
        while self._buried < self._added and time.monotonic() < deadline:
            time.sleep(TICK)
