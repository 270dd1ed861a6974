"""What other threads tell the exchange. Each word is one atomic call, and wakes it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pgqueue.worker.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from pgqueue.outcome import Outcome

    Head = tuple[str, int, datetime, int]


class Inbox:
    """The exchange's ear.

    Args:
        wake: called after each word.
        reports: told which attempts will say no more of their progress.
    """

    def __init__(self, wake: Callable[[], None], reports: Reports | None = None) -> None:
        self._wake, self._reports = wake, reports or Reports()
        self._said = self._reports.said
        self._outcomes: deque[Outcome] = deque()
        self._lanes: deque[tuple[str, int]] = deque()
        self._heads: deque[list[Head]] = deque()
        self._look = True
        self._check = False
        self.listening = False

    def done(self, outcome: Outcome) -> None:
        """An executor has an outcome."""
        if self._said:
            self._reports.ended((outcome.id, outcome.lease))
        self._outcomes.append(outcome)
        self._wake()

    def notified(self, queue: str, priority: int) -> None:
        """There may be work in this lane."""
        self._lanes.append((queue, priority))
        self._wake()

    def heads(self, heads: list[Head]) -> None:
        """The probe found these heads of lanes."""
        if heads:
            self._heads.append(heads)
            self._wake()

    def look(self) -> None:
        """There may be work anywhere."""
        self._look = True
        self._wake()

    def check(self) -> None:
        """Somebody asked for a cancel: reconcile now."""
        self._check = True
        self._wake()

    def take_outcomes(self) -> Iterator[Outcome]:
        """The outcomes since the last call."""
        while self._outcomes:
            yield self._outcomes.popleft()

    def take_lanes(self) -> Iterator[tuple[str, int]]:
        """The lanes notified since the last call."""
        while self._lanes:
            yield self._lanes.popleft()

    def take_heads(self) -> Iterator[list[Head]]:
        """The heads found since the last call."""
        while self._heads:
            yield self._heads.popleft()

    def take_look(self) -> bool:
        """Whether to look anywhere."""
        # Cleared only when it was seen up: another thread may raise it in between.
        if not self._look:
            return False
        self._look = False
        return True

    def take_check(self) -> bool:
        """Whether to reconcile now."""
        if not self._check:
            return False
        self._check = False
        return True
