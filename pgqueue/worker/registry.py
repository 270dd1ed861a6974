"""What a worker can run, and what it met that it cannot. Pure, but for the dice.

A job of an unknown task is given back, not failed: in a rolling deploy the new workers have it.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from pgqueue.telemetry.events import TaskUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgqueue.tasks import Task

FIRST_DELAY: Final = 2.5
LAST_DELAY: Final = 30.0
WARN_EVERY: Final = 60.0
"""Seconds between two warnings about the same task."""


class Registry:
    """The app's tasks, by name.

    Args:
        tasks: what the app registered.
    """

    def __init__(self, tasks: Mapping[str, Task[..., object]]) -> None:
        self._tasks = tasks
        self._since: dict[str, float] = {}
        self._warned: dict[str, float] = {}
        self._missed: Counter[str] = Counter()

    def find(self, name: str) -> Task[..., object] | None:
        """The task of that name, if this worker knows it."""
        return self._tasks.get(name)

    def missed(self, name: str, now: float) -> float:
        """Count a job of an unknown task; the seconds until it is due again.

        2 s at first, so that a deploy under way finds it soon, and 30 s in the long run.
        """
        self._missed[name] += 1
        known_for = now - self._since.setdefault(name, now)
        delay = min(FIRST_DELAY + known_for / 2, LAST_DELAY)
        return delay * random.uniform(0.8, 1.0)  # noqa: S311 - jitter

    def warnings(self, now: float) -> Iterator[TaskUnknown]:
        """What to warn of now: each task once a minute at most."""
        for name in list(self._missed):
            if now - self._warned.get(name, now - WARN_EVERY) >= WARN_EVERY:
                self._warned[name] = now
                delay = min(FIRST_DELAY + (now - self._since[name]) / 2, LAST_DELAY)
                yield TaskUnknown(name, self._missed.pop(name), delay)
