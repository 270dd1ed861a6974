"""What other threads tell the exchange. Each word is one atomic call, and wakes it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from pgqueue.outcome import Outcome

    Head = tuple[str, int, datetime, int]


class Inbox:
    """The exchange's ear.

    Args:
        wake: called after each word.

    Attributes:
        listening: the listener has a connection.
        hears: a notification has come over it.
        watched_until: monotonic seconds until which the maintenance thread looks for due jobs.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._outcomes: deque[Outcome] = deque()
        self._lanes: deque[tuple[str, int]] = deque()
        self._heads: deque[list[Head]] = deque()
        self._look = True
        self._check = self._echo = False
        self.listening = self.hears = False
        self.watched_until = 0.0

    def done(self, outcome: Outcome) -> None:
        """An executor has an outcome."""
        self._outcomes.append(outcome)
        self._wake()

    def notified(self, queue: str, priority: int) -> None:
        """There may be work in this lane."""
        self._lanes.append((queue, priority))
        self._wake()

    def looked(self, heads: list[Head], until: float) -> None:
        """Somebody looked at all lanes and found these heads; the next look comes before `until`.

        Args:
            heads: of lanes with due jobs.
            until: monotonic seconds; 0 when it is not known that it will come in time.
        """
        self.watched_until = until
        if heads:
            self._heads.append(heads)
            self._wake()

    def connected(self, listening: bool) -> None:
        """The listener has connected, or lost its connection."""
        self.listening, self.hears, self._echo = listening, False, listening

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

    def take_echo(self) -> bool:
        """Whether to send a notification to see if it is heard: once for each connection."""
        if not self._echo:
            return False
        self._echo = False
        return True

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
