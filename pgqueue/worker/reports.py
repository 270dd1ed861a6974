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
    """The last word of each attempt that said any.

    Every step is one atomic call on a dict, so a handler never waits here. Attempts that say
    nothing leave no trace, and cost nothing.

    Attributes:
        said: by attempt; to be tested for emptiness, once for each job.
    """

    def __init__(self) -> None:
        self.said: dict[Key, Report] = {}
        self._written: dict[Key, int] = {}
        self._ended: set[Key] = set()
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
        written = self._written
        return [
            each
            for each in found
            if each is not None and each.sequence > written.get((each.job_id, each.lease), 0)
        ]

    def written(self, reports: Iterable[Report]) -> None:
        """The table knows these, or will not have them: their lease was lost."""
        for each in reports:
            self._written[each.job_id, each.lease] = each.sequence

    def ended(self, key: Key) -> None:
        """This attempt has an outcome: it will say no more."""
        if key in self.said:
            self._ended.add(key)

    def ended_by_now(self) -> set[Key]:
        """Attempts that will say no more; for `forget`, once their last word is written."""
        return set(self._ended)

    def forget(self, keys: Iterable[Key]) -> None:
        """These attempts are over, and the table knows all that it will."""
        for key in keys:
            self.said.pop(key, None)
            self._written.pop(key, None)
            self._ended.discard(key)
