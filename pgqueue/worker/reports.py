"""What handlers say of their progress, until the table knows it. Pure; safe from any thread."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    Key = tuple[int, int]


class Report(NamedTuple):
    """What was said last of one attempt, by the columns of `progress`."""

    job_id: int
    lease: int
    sequence: int
    done: float
    total: float | None
    message: str | None


class Reports:
    """The last word of each attempt that the table does not know yet.

    Every step is one atomic call on a dict, so a handler never waits here. What the table knows is
    forgotten: also a word that comes after the end of its job, from a thread that outlives it.

    Attributes:
        said: by attempt; to be tested for emptiness.
    """

    def __init__(self) -> None:
        self.said: dict[Key, Report] = {}
        self._sequence = count(1)

    def __bool__(self) -> bool:
        return bool(self.said)

    def say(self, key: Key, done: float, total: float | None, message: str | None) -> None:
        """Take a word; it replaces the one before."""
        self.said[key] = Report(*key, next(self._sequence), done, total, message)

    def unwritten(self, keys: Iterable[Key] | None = None) -> list[Report]:
        """What the table does not know yet: of these attempts, or of all."""
        said = self.said
        found = [said.get(key) for key in (list(said) if keys is None else keys)]
        return [each for each in found if each is not None]

    def written(self, reports: Iterable[Report]) -> None:
        """The table knows these, or will not have them: their lease was lost."""
        for each in reports:
            key = each.job_id, each.lease
            newest = self.said.pop(key, None)
            if newest is not None and newest is not each:  # said meanwhile; one yet newer stays
                self.said.setdefault(key, newest)
