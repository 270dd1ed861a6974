"""Several steps on one thread and one connection, each in its own time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

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
AFTER_FAILURE: Final = 1.0
"""Seconds until the next turn of a step that failed."""


class Exactly(float):
    """A pause that is kept as it is; all others are a tenth shorter or longer, at random."""

    __slots__ = ()


def attempt(name: str, step: Step, connection: Connection, emit: Events) -> float | None:
    """Call a step; when it fails, say so: the other steps of its thread must go on.

    Returns:
        The pause that it asks for; None after a failure.
    """
    try:
        return step(connection)
    except Exception as error:  # noqa: BLE001 - see above
        message = " ".join(str(error).split()) or type(error).__name__
        emit(events.StepFailed(name, message))
        return None


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
        try:
            pause = None if self.closed else self._step()
        except BaseException:
            self._link.close()
            raise
        if pause is None:
            self._link.close()
        return pause

    def _step(self) -> float:
        try:
            connection = self._link.connection()
            self._urgent(connection)
        except (psycopg.Error, ConnectionFailed) as error:
            return self._link.failed(error)
        self._link.worked()
        for name in self._steps:
            if self._due[name] <= time.monotonic():
                pause = self._call(name, connection)
                self._due[name] = time.monotonic() + pause
        return max(min(self._due.values()) - time.monotonic(), 0.0)

    def _call(self, name: str, connection: Connection) -> float:
        pause = attempt(name, self._steps[name], connection, self._emit)
        if pause is None or isinstance(pause, Exactly):
            return AFTER_FAILURE if pause is None else pause
        return pause * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
