"""The claim that an idle worker makes before it is wanted, and when that one will not do."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.telemetry.events import Events
from pgqueue.worker.carrier import Carrier
from pgqueue.worker.exchange import Exchange
from pgqueue.worker.inbox import Inbox
from pgqueue.worker.intake import Intake
from pgqueue.worker.lanes import Lanes
from pgqueue.worker.ledger import Ledger
from pgqueue.worker.link import Link
from pgqueue.worker.loop import Wake
from pgqueue.worker.registry import Registry
from pgqueue.worker.reports import Reports
from tests.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgqueue.worker.parts import Attempt, Executor

SETTINGS = Settings(poll_interval=60)


class Holding:
    """Takes attempts and runs none of them."""

    def __init__(self) -> None:
        self.slots = 10
        self.taken: list[int] = []

    def room(self) -> int:
        return self.slots - len(self.taken)

    def in_hand(self) -> int:
        return len(self.taken)

    def start(self, attempts: Sequence[Attempt]) -> None:
        self.taken += [attempt.job.id for attempt in attempts]

    def unstarted(self, older_than: float) -> list[Attempt]:
        del older_than
        return []


class Idle:
    """An exchange that has nothing to do, stepped by hand."""

    def __init__(self, dsn: str, tables: Tables) -> None:
        wake, ledger, emit, reports = Wake(), Ledger(), Events(), Reports()
        app = PgQueue(dsn)
        app.task(name="t")(lambda: None)
        self.tables, self.executor, self.inbox = tables, Holding(), Inbox(wake)
        self.links = [Link(part, dsn, SETTINGS, emit) for part in ("worker", "claims")]
        self.lanes = Lanes(["default"])
        worker_id = tables.worker()
        executor = cast("Executor", self.executor)
        self.exchange = Exchange(
            carrier=Carrier(
                self.links[0],
                self.links[1],
                SETTINGS,
                worker_id=worker_id,
                worker="w",
                takes="all",
                wake=wake,
                reports=reports,
            ),
            settings=SETTINGS,
            worker_id=worker_id,
            lanes=self.lanes,
            intake=Intake({"thread": executor}, Registry(app.tasks), ledger, emit, reports=reports),
            inbox=self.inbox,
            ledger=ledger,
            emit=emit,
        )
        self.sleep()

    def sleep(self) -> None:
        """Step until there is nothing to do."""
        while self.exchange.step() == 0.0:
            pass

    def close(self) -> None:
        for link in self.links:
            link.close()


@pytest.fixture
def idle(dsn: str, connection: psycopg.Connection) -> Iterator[Idle]:
    with closing(Idle(dsn, Tables(connection))) as made:
        yield made


def test_the_claim_of_a_worker_that_is_woken_was_planned_before(
    idle: Idle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Lanes, "plan")
    job_id = idle.tables.job()
    idle.inbox.notified("default", 0)
    assert idle.exchange.step() == 0.0
    assert idle.executor.taken == [job_id]


def test_a_job_of_a_new_lane_is_claimed_at_once(idle: Idle) -> None:
    job_id = idle.tables.job(priority=7)
    idle.inbox.notified("default", 7)
    idle.exchange.step()
    assert idle.executor.taken == [job_id]


def test_a_job_below_the_floor_that_the_probe_found_is_claimed_at_once(idle: Idle) -> None:
    [first, below] = idle.tables.jobs(2)
    idle.tables.run("update pgqueue.jobs set state = 'blocked' where id = %s", below)
    idle.inbox.look()
    idle.sleep()
    assert idle.executor.taken == [first]
    idle.executor.taken.clear()
    idle.inbox.look()
    idle.sleep()  # now nothing is in hand, and the next claim is made
    [(run_at,)] = idle.tables.run(
        "update pgqueue.jobs set state = 'ready', run_at = run_at - interval '1 hour' "
        "where id = %s returning run_at",
        below,
    )
    idle.inbox.heads([("default", 0, run_at, below)])
    idle.exchange.step()
    assert idle.executor.taken == [below]


def test_no_more_is_claimed_than_there_is_room_for_now(idle: Idle) -> None:
    idle.tables.jobs(3)
    idle.executor.slots = 1
    idle.inbox.notified("default", 0)
    idle.exchange.step()
    assert len(idle.executor.taken) == 1


def test_nothing_is_planned_while_a_handler_wants_to_start(idle: Idle) -> None:
    idle.tables.job()
    idle.inbox.notified("default", 0)
    idle.sleep()
    assert idle.exchange._ahead is None
    idle.executor.taken.clear()
    idle.inbox.look()
    idle.sleep()
    assert idle.exchange._ahead is not None
