"""An idle worker asks little: one look of its maintenance thread stands for its polls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.outcome import Succeeded, Unsuccessful
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker import exchange, identity
from pgqueue.worker.attendants import TURNS, Attendants
from pgqueue.worker.carrier import Carrier
from pgqueue.worker.exchange import RARELY, RECONCILE_EVERY, Exchange
from pgqueue.worker.inbox import Inbox
from pgqueue.worker.intake import Intake
from pgqueue.worker.lanes import Lanes
from pgqueue.worker.ledger import Ledger
from pgqueue.worker.link import Link
from pgqueue.worker.loop import Wake
from pgqueue.worker.registry import Registry
from pgqueue.worker.reports import Reports
from pgqueue.worker.steps import look as looks, turns as turns_step
from pgqueue.worker.steps.look import Look
from pgqueue.worker.steps.rota import Exactly, Rota
from pgqueue.worker.steps.turns import Turns
from tests.waiting import wait_until
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgqueue.connections import Connection
    from pgqueue.worker.parts import Attempt, Why
    from tests.worker.conftest import Running

    Work = Callable[..., Running]

SETTINGS = Settings()
LOOK = looks.EVERY


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Hands:
    """An executor that keeps what it is given until the test ends it."""

    name = "thread"

    def __init__(self) -> None:
        self.held: list[Attempt] = []

    def room(self) -> int:
        return 10 - len(self.held)

    def start(self, attempts: Sequence[Attempt]) -> None:
        self.held.extend(attempts)

    def cancel(self, attempt: Attempt, why: Why) -> None:
        attempt.why = why

    def unstarted(self, _older_than: float) -> list[Attempt]:
        return []

    def in_hand(self) -> int:
        return len(self.held)

    def close(self) -> None:
        pass


class Idle:
    """An exchange on a real connection, stepped by the test, and how often it asked the server."""

    def __init__(self, dsn: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.asked = clock, dict.fromkeys(("claim", "reconcile"), 0)
        monkeypatch.setattr(exchange, "time", clock)
        app = PgQueue("", settings=SETTINGS)
        app.task(name="plain")(_plain)
        emit, wake = Events(), Wake()
        self.inbox, self.hands, ledger = Inbox(wake), Hands(), Ledger()
        self.link = Link("worker", dsn, SETTINGS, emit)
        connection = self.link.connection()
        store.run(connection, SETTINGS, "add_steps", {"names": list(TURNS)})
        self.worker_id, name = identity.register(connection, SETTINGS, ["default"], cell=False)
        carrier = Carrier(
            self.link,
            Link("claims", dsn, SETTINGS, emit),
            SETTINGS,
            worker_id=self.worker_id,
            worker=name,
            takes="all",
            wake=wake,
            reports=Reports(),
        )
        self._count(carrier, monkeypatch)
        intake = Intake(
            {"thread": self.hands}, Registry(app.tasks), ledger, emit, reports=Reports()
        )
        self.exchange = Exchange(
            carrier=carrier,
            settings=SETTINGS,
            worker_id=self.worker_id,
            lanes=Lanes(["default"]),
            intake=intake,
            inbox=self.inbox,
            ledger=ledger,
            emit=emit,
        )

    def _count(self, carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
        together, run = carrier.together, store.run

        def claim(*args: Any, **order: Any) -> Any:
            self.asked["claim"] += 1
            return together(*args, **order)

        def counted(connection: Connection, settings: Settings, name: str, *rest: Any) -> Any:
            self.asked[name] = self.asked.get(name, 0) + 1
            return run(connection, settings, name, *rest)

        monkeypatch.setattr(carrier, "together", claim)
        monkeypatch.setattr(store, "run", counted)

    def settle(self) -> float:
        """Step until there is nothing to do; the seconds that it would sleep."""
        while (pause := self.exchange.step()) == 0.0:
            self.clock.now += 1e-4
        return pause

    def calm(self) -> None:
        """It listens, is heard, sleeps, and has not lost an answer for long."""
        self.inbox.connected(True)
        self.inbox.hears = True
        self.settle()
        self.sleep(RARELY + 2 * RECONCILE_EVERY, seen=True)
        self.asked = dict.fromkeys(self.asked, 0)

    def sleep(self, seconds: float, *, seen: bool) -> None:
        """Let time pass, as the loop does; `seen`: looks come in time and find nothing."""
        until = self.clock.now + seconds
        look_at = self.clock.now
        while self.clock.now < until:
            if seen and self.clock.now >= look_at:
                self.inbox.looked([], self.clock.now + LOOK * looks.LATE)
                look_at += LOOK
            ends = [self.clock.now + self.settle(), until, *([look_at] if seen else [])]
            self.clock.now = min(ends)
        self.settle()


def _plain() -> None: ...


@pytest.fixture
def idle(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Idle]:
    made = Idle(dsn, Clock(), monkeypatch)
    yield made
    made.link.close()


def head(table: Table, id_: int) -> list[tuple[str, int, Any, int]]:
    return [("default", 0, table.row(id_)["run_at"], id_)]


# -- the exchange ----------------------------------------------------------------------------------


def test_while_looks_come_in_time_it_does_not_poll(idle: Idle) -> None:
    idle.calm()
    idle.sleep(50, seen=True)
    assert idle.asked["claim"] == 0


def test_when_looks_are_late_it_polls_at_its_interval(idle: Idle) -> None:
    idle.calm()
    idle.sleep(30, seen=False)
    assert 30 / 2.0 - 3 <= idle.asked["claim"] <= 30 / 1.0


@pytest.mark.parametrize("why", ["deaf", "not connected"])
def test_unless_notifications_are_heard_it_polls_at_its_interval(idle: Idle, why: str) -> None:
    idle.calm()
    idle.inbox.connected(why == "deaf")
    idle.sleep(30, seen=True)
    assert 30 / 2.0 - 1 <= idle.asked["claim"] <= 30 / 1.0


def test_what_a_look_has_found_is_claimed_at_once(idle: Idle, table: Table) -> None:
    idle.calm()
    id_ = table.add_one("plain")
    idle.inbox.looked(head(table, id_), idle.clock.now + LOOK)
    idle.settle()
    assert [attempt.job.id for attempt in idle.hands.held] == [id_]


def test_what_comes_due_right_after_another_one_is_claimed_at_once_too(
    idle: Idle, table: Table
) -> None:
    idle.calm()
    ids = []
    for _ in range(3):
        ids.append(table.add_one("plain"))
        idle.inbox.looked(head(table, ids[-1]), idle.clock.now + LOOK)
        idle.settle()
        assert [attempt.job.id for attempt in idle.hands.held] == ids


def test_what_cannot_be_claimed_is_tried_no_more_often_than_at_every_poll(
    idle: Idle, table: Table, dsn: str
) -> None:
    idle.calm()
    id_ = table.add_one("plain")
    with psycopg.connect(dsn) as rival:
        rival.execute("select from pgqueue.jobs for update")
        for _ in range(20):
            idle.inbox.looked(head(table, id_), idle.clock.now + LOOK)
            idle.settle()
    assert idle.asked["claim"] == 1
    idle.sleep(2.0, seen=False)
    assert len(idle.hands.held) == 1


def test_a_retry_is_claimed_when_it_is_due_though_looks_come(idle: Idle, table: Table) -> None:
    idle.calm()
    id_ = table.add_one("plain")
    idle.inbox.notified("default", 0)
    idle.settle()
    [attempt] = idle.hands.held
    idle.hands.held.clear()
    idle.inbox.done(Unsuccessful(*attempt.key, "ready", delay=0.7))
    idle.sleep(0.1, seen=True)
    table.make_due(id_)
    idle.sleep(0.5, seen=True)
    assert idle.hands.held == []
    idle.sleep(0.2, seen=True)
    assert [attempt.job.id for attempt in idle.hands.held] == [id_]


def test_with_nothing_held_it_reconciles_rarely_and_from_a_claim_on_again(
    idle: Idle, table: Table
) -> None:
    idle.calm()
    idle.sleep(4 * RARELY, seen=True)
    assert 3 <= idle.asked["reconcile"] <= 5
    table.add_one("plain")
    idle.inbox.notified("default", 0)
    idle.asked["reconcile"] = 0
    idle.sleep(3 * RECONCILE_EVERY, seen=True)
    assert 2 <= idle.asked["reconcile"] <= 4
    [attempt] = idle.hands.held
    table.connection.execute("update pgqueue.jobs set cancel_requested_at = now()")
    idle.sleep(1.3 * RECONCILE_EVERY, seen=True)
    assert attempt.why == "cancel"
    idle.hands.held.clear()
    idle.inbox.done(Succeeded(*attempt.key, None))
    idle.settle()
    assert table.state(attempt.job.id) == "succeeded"


def test_after_a_lost_connection_it_looks_for_claims_of_its_own_as_often_as_ever(
    idle: Idle, table: Table
) -> None:
    """A claim whose answer was lost may commit after the worker has reconnected."""
    idle.calm()
    idle.link.close()
    idle.sleep(2 * RECONCILE_EVERY, seen=True)
    assert idle.asked["reconcile"] >= 2
    id_ = table.add_one("plain")
    table.connection.execute(
        "update pgqueue.jobs set state = 'running', lease = lease + 1, attempt = 1, worker_id = %s",
        [idle.worker_id],
    )
    idle.sleep(1.3 * RECONCILE_EVERY, seen=True)
    assert [attempt.key for attempt in idle.hands.held] == [(id_, 3)], "released, and claimed anew"


def test_it_never_sleeps_for_so_long_that_its_owner_takes_it_for_stuck(idle: Idle) -> None:
    idle.calm()
    idle.inbox.looked([], idle.clock.now + 1000)
    assert idle.settle() <= exchange.LONGEST_SLEEP


# -- the look --------------------------------------------------------------------------------------


@pytest.fixture
def own(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        store.run(connection, SETTINGS, "add_steps", {"names": list(TURNS)})
        yield connection


def made(*queues: str, settings: Settings = SETTINGS) -> tuple[Look, Inbox]:
    inbox = Inbox(lambda: None)
    return Look(settings, list(queues or ["default"]), inbox), inbox


def delay(table: Table, seconds: float) -> int:
    return table.add_one("plain", delay=seconds)


def test_it_looks_again_when_the_next_job_comes_due(own: Connection, table: Table) -> None:
    look, inbox = made()
    assert look(own, {}) == ([], LOOK)
    delay(table, 3600)
    age_steps(table)
    assert look(own, {}) == ([], LOOK)
    soon = delay(table, 1.5)
    age_steps(table)
    _, pause = look(own, {})
    assert isinstance(pause, Exactly)
    assert 1 < pause < 1.51
    table.make_due(soon)
    look._next_at = 0.0
    table.connection.execute(
        "update pgqueue.steps set ran_at = clock_timestamp() - interval '0.1 s'"
    )
    look(own, {})
    assert [found[0][3] for found in inbox.take_heads()] == [soon]


def age_steps(table: Table) -> None:
    table.connection.execute("update pgqueue.steps set ran_at = ran_at - interval '3 s'")


def test_after_a_job_came_due_it_looks_for_the_one_behind_it(own: Connection, table: Table) -> None:
    look, _ = made()
    soon = delay(table, 1.0)
    look(own, {})
    delay(table, 1.5)
    table.make_due(soon)
    look._next_at = 0.0
    age_steps(table)
    assert look(own, {})[1] == pytest.approx(looks.SOONEST, abs=0.01)
    look._next_at = 0.0
    age_steps(table)
    assert look(own, {})[1] == LOOK, "it stands there still: that is no news"
    table.connection.execute("delete from pgqueue.jobs where id = %s", [soon])
    age_steps(table)
    assert look(own, {})[1] < 1.51


def test_jobs_that_come_due_one_after_the_other_are_not_looked_for_all_the_time() -> None:
    look, _ = made()
    assert look._pause(0.01, time.monotonic(), news=False) == looks.SOONEST


def test_what_it_saw_holds_until_the_next_look_is_late(own: Connection) -> None:
    look, inbox = made()
    look(own, {})
    assert inbox.watched_until - time.monotonic() <= LOOK * looks.LATE
    assert inbox.watched_until - time.monotonic() > 0


def test_without_a_probe_in_time_nothing_it_saw_holds(own: Connection, table: Table) -> None:
    """Somebody's probe takes long, or fails: then each worker polls for itself."""
    look, inbox = made()
    look(own, {})
    with psycopg.connect(own.info.dsn) as rival:
        age_steps(table)
        rival.execute("select from pgqueue.steps where name = 'probe' for update")
        look(own, {})
        assert inbox.watched_until == 0.0


def test_who_polls_faster_than_it_looks_goes_on_polling(own: Connection) -> None:
    quick, inbox = made(settings=Settings(poll_interval=0.1))
    usual, other = made()
    quick(own, {})
    usual(own, {})
    assert other.watched_until - inbox.watched_until > 1.5


def test_after_a_look_that_failed_the_next_one_leaves_the_probe_out(
    own: Connection, table: Table
) -> None:
    look, inbox = made()
    table.add_one("plain")
    with psycopg.connect(own.info.dsn) as rival:
        rival.execute("lock table pgqueue.lanes in access exclusive mode")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            _brief(look)(own, {"prune": 1.0})
    assert look(own, {"prune": 1.0})[0] == ["prune"]
    assert list(inbox.take_heads()) == []
    assert look(own, {"prune": 60.0})[0] == []
    assert len(list(inbox.take_heads())) == 1


def _brief(look: Look) -> Look:
    look._settings = Settings(lock_timeout=0.01)
    return look


# -- turns -----------------------------------------------------------------------------------------


class Told(Look):
    """A look that gives these turns, and what it was asked."""

    def __init__(self, *turns: str) -> None:
        self.turns = list(turns)
        self.asked: list[dict[str, float]] = []

    def __call__(self, _: Connection, wanted: Mapping[str, float]) -> tuple[list[str], float]:
        self.asked.append({name: round(pause, 3) for name, pause in wanted.items()})
        return self.turns, Exactly(2.0)


class Step:
    """A shared step that notes its calls."""

    def __init__(self, every: float, again: float | None) -> None:
        self.every, self._again, self.calls = every, again, 0

    def __call__(self, connection: Connection, /) -> float:  # noqa: ARG002 - a test's
        self.calls += 1
        if self._again is None:
            raise psycopg.errors.QueryCanceled("too long")
        return self._again


def test_a_turn_is_taken_only_when_the_look_gives_it(own: Connection) -> None:
    mine, other = Step(10.0, 10.0), Step(20.0, 20.0)
    told = Told("mine")
    pause = Turns(told, {"mine": mine, "other": other}, Events())(own)
    assert (mine.calls, other.calls) == (1, 0)
    assert told.asked == [{"mine": 8.5, "other": 17.0}]
    assert isinstance(pause, Exactly)


def test_a_step_that_hurries_brings_the_next_look_and_asks_for_its_turn_by_then(
    own: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = Clock(), Told("prune")
    monkeypatch.setattr(turns_step, "time", clock)
    turns = Turns(told, {"prune": Step(10.0, 3.0)}, Events())
    assert turns(own) == 2.0
    told.turns = []
    clock.now += 2.0
    assert turns(own) == 1.0
    clock.now += 1.0
    assert turns(own) == 2.0, "another worker has it"
    turns(own)
    assert [asked["prune"] for asked in told.asked] == [8.5, 2.55, 2.55, 8.5]


def test_a_turn_that_fails_is_told_and_the_others_are_taken(own: Connection) -> None:
    said: list[Event] = []
    broken, fine = Step(10.0, None), Step(10.0, 10.0)
    told = Told("broken", "fine")
    turns = Turns(told, {"broken": broken, "fine": fine}, Events(said.append))
    assert turns(own) == 2.0
    assert fine.calls == 1
    assert said == [events.StepFailed("broken", "too long")]


def test_a_pause_that_is_exact_is_kept(dsn: str) -> None:
    link = Link("maintenance", dsn, SETTINGS, Events())
    rota = Rota(link, {"look": lambda _: Exactly(100.0)}, Events())
    assert 99.9 < (rota.step() or 0) <= 100.0
    link.close()


# -- real workers ----------------------------------------------------------------------------------


def test_a_worker_proves_that_it_hears_notifications(app: PgQueue, work: Work) -> None:
    app.task(name="plain")(_plain)
    inbox = work().worker._inbox
    wait_until(lambda: inbox.hears, what="an echo")


def test_one_that_listens_where_nobody_speaks_finds_jobs_by_polling(
    app: PgQueue, dsn: str, table: Table, work: Work
) -> None:
    """A pooler in transaction mode takes LISTEN, and never passes anything on."""
    app.task(name="plain")(_plain)
    elsewhere = psycopg.conninfo.make_conninfo(dsn, dbname="postgres")
    inbox = work(listen_dsn=elsewhere, poll_interval=1.5).worker._inbox
    wait_until(lambda: inbox.listening and not inbox._echo, what="it has tried to hear itself")
    table.wait(table.add_one("plain"), "succeeded")
    assert not inbox.hears


@pytest.mark.parametrize("payload", ["-5", "", "-", "x", "1e3", "9" * 5000, "\u0663"])
def test_whatever_is_sent_harms_nobody(dsn: str, payload: str) -> None:
    inbox = Inbox(lambda: None)
    attendants = Attendants(dsn, SETTINGS, Events(), worker_id=1, inbox=inbox, failed=print)
    attendants._heard("pgqueue.default", payload)
    assert [*inbox.take_lanes()] == [("default", -5 if payload == "-5" else 0)]
