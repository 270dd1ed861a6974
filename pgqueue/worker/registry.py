"""What a worker can run, and what it met that it cannot. Pure, but for the dice.

A job of an unknown task, or of a newer version of one, is given back, not failed: in a rolling
deploy the new workers have it.
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

Missed = tuple[str, int | None]
"""A task's name, and the version where only that is unknown."""


class Registry:
    """The app's tasks, by name.

    Args:
        tasks: what the app registered.
    """

    def __init__(self, tasks: Mapping[str, Task[..., object]]) -> None:
        self._tasks = tasks
        self._since: dict[Missed, float] = {}
        self._warned: dict[Missed, float] = {}
        self._missed: Counter[Missed] = Counter()

    def find(self, name: str, version: int = 1) -> Task[..., object] | None:
        """The task of that name, if this worker knows it, and arguments of that version."""
        task = self._tasks.get(name)
        return task if task is None or version <= task.version else None

    def missed(self, name: str, now: float, version: int = 1) -> float:
        """Count a job of a task, or of a version of it, that is not known here.

        Returns:
            The seconds until it is due again: 2 at first, so that a deploy under way finds it
            soon, and 30 in the long run.
        """
        what = (name, version if name in self._tasks else None)
        self._missed[what] += 1
        known_for = now - self._since.setdefault(what, now)
        delay = min(FIRST_DELAY + known_for / 2, LAST_DELAY)
        return delay * random.uniform(0.8, 1.0)  # noqa: S311 - jitter

    def warnings(self, now: float) -> Iterator[TaskUnknown]:
        """What to warn of now: each task, in each version, once a minute at most."""
        for what in list(self._missed):
            if now - self._warned.get(what, now - WARN_EVERY) >= WARN_EVERY:
                self._warned[what] = now
                delay = min(FIRST_DELAY + (now - self._since[what]) / 2, LAST_DELAY)
                yield TaskUnknown(what[0], self._missed.pop(what), delay, what[1])
