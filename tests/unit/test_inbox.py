"""What other threads tell the exchange is never lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pgqueue.outcome import Settled
from pgqueue.worker.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Interrupted(Inbox):
    """Another thread speaks right after each time that a flag was read."""

    flags: dict[str, bool]

    def _read(self, name: str) -> bool:
        flags = self.__dict__.setdefault("flags", {})
        value = flags.get(name, False)
        flags[name] = True
        return bool(value)

    @property
    def _look(self) -> bool:
        return self._read("look")

    @_look.setter
    def _look(self, value: bool) -> None:
        self.__dict__.setdefault("flags", {})["look"] = value

    @property
    def _check(self) -> bool:
        return self._read("check")

    @_check.setter
    def _check(self, value: bool) -> None:
        self.__dict__.setdefault("flags", {})["check"] = value


@pytest.mark.parametrize("take", [Inbox.take_look, Inbox.take_check])
def test_a_word_between_reading_and_clearing_is_heard_the_next_time(
    take: Callable[[Inbox], bool],
) -> None:
    inbox = Interrupted(lambda: None)
    inbox._look = inbox._check = False
    assert not take(inbox)
    assert take(inbox)


def test_a_new_worker_looks_for_work_once_without_being_told() -> None:
    inbox = Inbox(lambda: None)
    assert inbox.take_look()
    assert not inbox.take_look()
    assert not inbox.take_check()


def test_every_word_wakes_and_is_taken_once() -> None:
    woken: list[int] = []
    inbox = Inbox(lambda: woken.append(1))
    inbox.done(Settled(1, 1))
    inbox.notified("a", 5)
    inbox.heads([("a", 0, NOW, 1)])
    inbox.look()
    inbox.check()
    assert len(woken) == 5
    assert list(inbox.take_outcomes()) == [Settled(1, 1)]
    assert list(inbox.take_lanes()) == [("a", 5)]
    assert list(inbox.take_heads()) == [[("a", 0, NOW, 1)]]
    assert inbox.take_look()
    assert inbox.take_check()
    assert not inbox.take_check()
    assert not [*inbox.take_outcomes(), *inbox.take_lanes(), *inbox.take_heads()]


def test_a_probe_that_found_nothing_wakes_nobody() -> None:
    woken: list[int] = []
    Inbox(lambda: woken.append(1)).heads([])
    assert woken == []
