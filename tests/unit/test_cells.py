"""When a supervisor starts a process for suspects."""

from __future__ import annotations

import time
from dataclasses import asdict

import pytest

from pgqueue.config import Settings
from pgqueue.worker import cells as words
from pgqueue.worker.cells import Cells
from pgqueue.worker.process import Order
from pgqueue.worker.restarts import YOUNG, Restarts

ORDER = Order(
    app="a:b",
    dsn="",
    queues=["q"],
    settings=asdict(Settings()),
    board=-1,
    log_level=20,
    log_format="text",
    app_dir=".",
)


def made(waiting: int) -> Cells:
    cells = Cells(ORDER)
    cells.wait(waiting)
    return cells


def test_a_cell_runs_one_suspect_of_the_same_queues() -> None:
    order = made(0).order
    settings = Settings(**order.settings)
    assert (order.cell, order.queues) == (True, ["q"])
    assert settings.slots == words.SLOTS


def test_none_is_started_while_nobody_waits() -> None:
    assert not made(0).wants([], 100.0)


def test_one_is_started_for_each_that_waits_beyond_those_that_are_free() -> None:
    assert made(1).wants([], 100.0)
    assert made(1).wants([True], 100.0)
    assert not made(1).wants([True, False], 100.0)
    assert made(2).wants([True, False], 100.0)


def test_starts_are_apart() -> None:
    cells = made(5)
    assert cells.wants([], 100.0)
    assert not cells.wants([False], 100.0 + 0.5 * words.PAUSE)
    assert cells.wants([False], 100.0 + words.PAUSE)


def test_there_is_a_limit() -> None:
    cells = made(100)
    assert cells.wants([True] * (words.MOST - 1), 100.0)
    assert not cells.wants([True] * words.MOST, 200.0)


def test_after_one_that_could_not_start_there_is_a_pause() -> None:
    cells = made(5)
    cells.ended(100.0, 4.0)
    assert not cells.wants([], 103.9)
    assert cells.wants([], 104.0)


@pytest.mark.parametrize(
    ("guilty", "pauses"),
    [(True, [0.0, 0.1, 0.2, 0.3]), (False, [0.0, 1.0, 2.0, 4.0])],
)
def test_the_pause_after_young_deaths_grows_slowly_while_jobs_may_be_guilty(
    guilty: bool, pauses: list[float]
) -> None:
    restarts = Restarts()
    now = time.monotonic()
    young = [restarts.pause(now, guilty=guilty) for _ in pauses]
    assert young == pytest.approx(pauses)
    assert restarts.pause(now - YOUNG - 1, guilty=guilty) == 0
    assert restarts.pause(now, guilty=guilty) == 0
