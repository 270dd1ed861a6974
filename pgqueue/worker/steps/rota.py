"""Several steps on one thread and one connection, each in its own time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from pgqueue.connections import Connection
from pgqueue.errors import ConnectionFailed
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.telemetry.events import Events
    from pgqueue.worker.link import Link

Step = Callable[[Connection], float]
"""Takes the connection, gives the seconds until its next turn."""


class Rota:
    """Calls each step when it is due; one that fails is told, and waits for its next turn.

    Args:
        link: the connection that they share.
        steps: by name.
        emit: takes events.
        urgent: called at every wake, before the steps; when it fails it is called again soon.
    """

    def __init__(
        self,
        link: Link,
        steps: Mapping[str, Step],
        emit: Events,
        *,
        urgent: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        self._link, self._steps, self._emit, self._urgent = link, steps, emit, urgent
        self._due = dict.fromkeys(steps, 0.0)
        self.closed = False

    def soon(self, name: str) -> None:
        """Make a step due now; only from `urgent` or a step."""
        self._due[name] = 0.0

    def step(self) -> float | None:
        """Call what is due; the seconds until something is, or None when closed."""
        if self.closed:
            self._link.close()
            return None
        try:
            connection = self._link.connection()
            self._urgent(connection)
        except (psycopg.Error, ConnectionFailed) as error:
            return self._link.failed(error)
        self._link.worked()
        for name in self._steps:
            if self._due[name] <= time.monotonic():
                self._due[name] = time.monotonic() + self._call(name, connection)
        return max(min(self._due.values()) - time.monotonic(), 0.0)

    def _call(self, name: str, connection: Connection) -> float:
        try:
            return self._steps[name](connection) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        except Exception as error:  # noqa: BLE001 - the other steps of this thread must go on
            message = " ".join(str(error).split()) or type(error).__name__
            self._emit(events.StepFailed(name, message))
            return 1.0
