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
    inbox.looked([("a", 0, NOW, 1)], 5.0)
    inbox.look()
    inbox.check()
    assert len(woken) == 5
    assert list(inbox.take_outcomes()) == [Settled(1, 1)]
    assert list(inbox.take_lanes()) == [("a", 5)]
    assert list(inbox.take_heads()) == [[("a", 0, NOW, 1)]]
    assert inbox.take_look()
    assert inbox.take_check()
    assert not inbox.take_check()
    assert not [
        *inbox.take_outcomes(),
        *inbox.take_lanes(),
        *inbox.take_heads(),
    ]


def test_a_look_that_found_nothing_wakes_nobody_and_holds_until_the_next() -> None:
    woken: list[int] = []
    inbox = Inbox(lambda: woken.append(1))
    inbox.looked([], 5.0)
    assert woken == []
    assert inbox.watched_until == 5.0


def test_each_connection_of_the_listener_is_tried_once_and_heard_anew() -> None:
    inbox = Inbox(lambda: None)
    assert not inbox.take_echo()
    for _ in range(2):
        inbox.connected(True)
        assert (inbox.listening, inbox.hears) == (True, False)
        assert [inbox.take_echo(), inbox.take_echo()] == [True, False]
        inbox.hears = True
    inbox.connected(False)
    assert (inbox.listening, inbox.hears, inbox.take_echo()) == (False, False, False)
