"""Several steps on one connection: each in its own time, and one that fails stops no other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import psycopg
import pytest

from pgqueue.config import Settings
from pgqueue.errors import ConnectionFailed
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.link import LONG_PAUSE, Link
from pgqueue.worker.steps.rota import Rota

if TYPE_CHECKING:
    from pgqueue.connections import Connection

CONNECTION = cast("Connection", object())
NOWHERE = "host=127.0.0.1 port=1 dbname=none"


class Connected(Link):
    """A link whose connection is there; the steps of these tests send nothing over it."""

    def connection(self) -> Connection:
        return CONNECTION


class Calls:
    """Steps that note their calls."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.made: list[str] = []
        self.emit = Events(self.told.append)
        self.link = Connected("part", NOWHERE, Settings(), self.emit)

    def quick(self, connection: Connection) -> float:
        assert connection is CONNECTION
        self.made.append("quick")
        return 0.0

    def slow(self, _: Connection) -> float:
        self.made.append("slow")
        return 1000.0

    def broken(self, _: Connection) -> float:
        self.made.append("broken")
        raise psycopg.errors.QueryCanceled("too\nlong")


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_each_step_is_called_when_it_is_due(calls: Calls) -> None:
    rota = Rota(calls.link, {"quick": calls.quick, "slow": calls.slow}, calls.emit)
    assert [rota.step() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert calls.made == ["quick", "slow", "quick", "quick"]


def test_it_waits_for_the_next_step_that_is_due(calls: Calls) -> None:
    pause = Rota(calls.link, {"slow": calls.slow}, calls.emit).step()
    assert pause is not None
    assert 899 < pause <= 1100


def test_a_step_that_fails_is_told_and_the_others_go_on(calls: Calls) -> None:
    rota = Rota(calls.link, {"broken": calls.broken, "slow": calls.slow}, calls.emit)
    pause = rota.step()
    assert calls.made == ["broken", "slow"]
    assert calls.told == [events.StepFailed("broken", "too long")]
    assert pause is not None
    assert 0 < pause <= 1


def test_what_is_urgent_comes_first_at_every_wake(calls: Calls) -> None:
    rota = Rota(
        calls.link, {"slow": calls.slow}, calls.emit, urgent=lambda _: calls.made.append("urgent")
    )
    rota.step()
    rota.step()
    assert calls.made == ["urgent", "slow", "urgent"]


def test_when_what_is_urgent_fails_it_is_tried_again_soon_and_before_any_step(
    calls: Calls,
) -> None:
    def urgent(_: Connection) -> None:
        raise psycopg.OperationalError("gone")

    rota = Rota(calls.link, {"slow": calls.slow}, calls.emit, urgent=urgent)
    pause = rota.step()
    assert calls.made == []
    assert pause is not None
    assert 0 < pause < 1
    assert isinstance(calls.told[0], events.DatabaseLost)


def test_without_a_database_it_tries_again_at_growing_pauses(calls: Calls) -> None:
    link = Link("part", NOWHERE, Settings(connect_timeout=1), calls.emit)
    rota = Rota(link, {"quick": calls.quick}, calls.emit)
    pauses = [rota.step() or math.inf for _ in range(9)]
    assert calls.made == []
    assert pauses[0] * 4 < pauses[5]
    assert max(pauses) <= LONG_PAUSE * 1.3
    with pytest.raises(ConnectionFailed, match="port=1"):
        link.connection()


def test_a_database_that_is_back_is_told_once(calls: Calls) -> None:
    calls.link.failed(psycopg.OperationalError("gone"))
    rota = Rota(calls.link, {"quick": calls.quick}, calls.emit)
    rota.step()
    rota.step()
    assert calls.told[1:] == [events.DatabaseBack("part")]


def test_a_closed_rota_calls_nothing_more(calls: Calls) -> None:
    rota = Rota(calls.link, {"quick": calls.quick}, calls.emit)
    rota.closed = True
    assert rota.step() is None
    assert calls.made == []
