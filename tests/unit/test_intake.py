"""How many jobs a worker asks for, with more than one executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pgqueue.app import PgQueue
from pgqueue.telemetry.events import Events
from pgqueue.worker.intake import Intake
from pgqueue.worker.ledger import Ledger
from pgqueue.worker.registry import Registry
from pgqueue.worker.reports import Reports
from tests.unit.claims import claimed_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgqueue.options import ExecutorName
    from pgqueue.worker.parts import Attempt, Executor


class Slots:
    """Takes so many attempts, and runs none."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken: list[Attempt] = []

    def room(self) -> int:
        return self.slots - len(self.taken)

    def start(self, attempts: Sequence[Attempt]) -> None:
        self.taken += attempts


async def coroutine() -> None:
    """Do nothing."""


def function() -> None:
    """Do nothing."""


def intake(loop: Slots, threads: Slots) -> Intake:
    app = PgQueue("")
    app.task(name="coroutine")(coroutine)
    app.task(name="function")(function)
    executors = cast("Mapping[ExecutorName, Executor]", {"async": loop, "thread": threads})
    registry = Registry(app.tasks)
    return Intake(executors, registry, Ledger(), Events(), reports=Reports())


def take(into: Intake, *tasks: str) -> None:
    into.take([claimed_job(id=id_, task=task) for id_, task in enumerate(tasks)], 0.0)


def test_threads_that_get_nothing_do_not_hold_the_loop_up() -> None:
    loop, threads = Slots(3000), Slots(16)
    mixed = intake(loop, threads)
    assert mixed.room() == 16
    for _ in range(30):
        loop.taken.clear()
        take(mixed, "coroutine")
    assert mixed.room() == 2999


def test_threads_with_a_part_of_the_jobs_hold_the_loop_up_by_that_part() -> None:
    loop, threads = Slots(3000), Slots(16)
    mixed = intake(loop, threads)
    for _ in range(30):
        loop.taken.clear()
        threads.taken.clear()
        take(mixed, *["coroutine"] * 9, "function")
    threads.taken.clear()
    assert 150 <= mixed.room() <= 170


def test_jobs_that_nobody_here_can_run_are_no_part_of_the_mix() -> None:
    mixed = intake(Slots(3000), Slots(16))
    for _ in range(100):
        take(mixed, "unknown")
    assert mixed.room() == 16


def test_threads_with_more_than_they_want_hold_the_loop_up_however_seldom_they_get_one() -> None:
    loop, threads = Slots(3000), Slots(1)
    mixed = intake(loop, threads)
    for _ in range(30):
        loop.taken.clear()
        take(mixed, "coroutine")
    take(mixed, "function")
    threads.slots = 0
    assert mixed.room() < 0
