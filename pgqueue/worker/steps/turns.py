"""Steps that one worker takes for all: each look asks whose turn each of them is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from pgqueue.worker.steps.rota import attempt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.steps.look import Look

EARLY: Final = 0.85
"""The share of a pause after which a turn may be taken: a look that comes a moment early would
else lose it."""


class Shared(Protocol):
    """A step that one worker takes for all.

    Attributes:
        every: seconds between two turns, while there is nothing that hurries.
    """

    @property
    def every(self) -> float:
        """As above."""

    def __call__(self, connection: Connection, /) -> float:
        """Do it once; the seconds until it should be done again, by whoever did it now."""


class Turns:
    """A step for the maintenance loop: looks, and takes the turns that are this worker's.

    Args:
        look: asks.
        steps: by name, each with a row in `steps`.
        emit: takes events.
    """

    def __init__(self, look: Look, steps: Mapping[str, Shared], emit: Events) -> None:
        self._look, self._steps, self._emit = look, steps, emit
        self._wanted: dict[str, tuple[float, float]] = {}

    def __call__(self, connection: Connection) -> float:
        """Look once; a step that fails is told, and the others go on."""
        before = time.monotonic()
        wanted = {name: step.every for name, step in self._steps.items()}
        wanted |= {name: pause for name, (pause, _) in self._wanted.items()}
        pauses = {name: pause * EARLY for name, pause in wanted.items()}
        turns, pause = self._look(connection, pauses)
        # What was asked for in its time and not given is another worker's.
        self._wanted = {name: each for name, each in self._wanted.items() if each[1] > before}
        for name in turns:
            self._take(name, connection)
        now = time.monotonic()
        return min([pause, *(max(at - now, 0.0) for _, at in self._wanted.values())])

    def _take(self, name: str, connection: Connection) -> None:
        again = attempt(name, self._steps[name], connection, self._emit)
        self._wanted.pop(name, None)
        if again is not None:
            self._wanted[name] = (again, time.monotonic() + again)
