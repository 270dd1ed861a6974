"""The exchange: outcomes go out, jobs come in, in one round trip; while busy, on two lines.

Nothing here waits for a timer to fill a batch: while one exchange is on its way the next outcomes
gather, and when the worker is idle a finish goes out at once.

An outcome that was not confirmed is sent again. If its row does not come back then either, the
table is asked (settle.sql); only then is it dropped, as recorded or as lost.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

import psycopg

from pgqueue import outcome, store
from pgqueue.errors import ConnectionFailed
from pgqueue.outcome import Succeeded, Unsuccessful
from pgqueue.telemetry import events
from pgqueue.worker.pace import Pace
from pgqueue.worker.refusals import Refusals
from pgqueue.worker.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.job import ClaimedJob
    from pgqueue.store import ExchangeReply, LaneClaim
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.carrier import Carrier
    from pgqueue.worker.inbox import Inbox
    from pgqueue.worker.intake import Intake
    from pgqueue.worker.lanes import Lanes
    from pgqueue.worker.ledger import Ledger
    from pgqueue.worker.parts import Attempt

RECONCILE_EVERY: Final = 5.0
"""Seconds between two comparisons of what the table says this worker runs with what it knows."""
RARELY: Final = 60.0
"""The same while it holds nothing, from so long after it last lost an answer or connected on: a
claim may commit after its connection is gone."""
LONGEST_SLEEP: Final = 5.0
"""Seconds: whoever owns the exchange has to see, too, that all is well."""
HELD_BACK: Final = 2.0
"""Seconds that a claimed job may wait for a slot before another worker may have it."""
MANY: Final = 100
"""Jobs in one claim from which on outcomes and claims overlap, on a connection each."""
CLAIMS_UNDER_WAY: Final = 2
"""The server works on one while the next waits there; a third in line gained nothing."""
MOST_OWED: Final = 5 * store.BATCH
"""Outcomes on hand from which on nothing more is claimed: the table takes them too slowly."""


class Exchange:
    """One worker's exchange; every method is called from one thread.

    Args:
        carrier: its connections.
        settings: limits and pauses.
        worker_id: this worker's row.
        lanes: where to look for work.
        intake: who gets what was claimed.
        inbox: what other threads say.
        ledger: what is held and owed.
        emit: takes events.
    """

    def __init__(
        self,
        *,
        carrier: Carrier,
        settings: Settings,
        worker_id: int,
        lanes: Lanes,
        intake: Intake,
        inbox: Inbox,
        ledger: Ledger,
        emit: Events,
    ) -> None:
        self._carrier, self._settings, self._emit = carrier, settings, emit
        self._tell = Telling(emit)
        self._worker_id, self._lanes = worker_id, lanes
        self._intake, self._inbox, self._ledger = intake, inbox, ledger
        self._pace = Pace(settings.poll_interval, time.monotonic())
        self._refusals = Refusals(ledger)
        self._claims = self._due = True
        self._armed = self._busy = self._unsure = False
        self._poll_at = self._reconcile_at = 0.0
        self._found, self._certain_at = False, 0.0
        self._heads: list[tuple[str, int, datetime, int]] = []

    def step(self) -> float:
        """Do what there is to do; the seconds until there may be more."""
        now = time.monotonic()
        try:
            pause = self._stream(now) if self._busy else self._step(now)
        except (psycopg.Error, ConnectionFailed) as error:
            self._drop(now)
            return 0.0 if self._refusals.understands(error, now) else self._carrier.failed(error)
        self._carrier.worked()
        return pause

    def _step(self, now: float) -> float:
        """One exchange in one round trip, and what else there is to do."""
        self._hear()
        connection = self._connected()
        self._settle(connection, now)
        if now >= self._reconcile_at or self._inbox.take_check():
            self._reconcile(connection, now)
        room = min(self._room(now), store.BATCH)
        finishing = self._refusals.batch()
        looking = room > 0 and (self._due or now >= self._next_poll() or bool(finishing))
        suspect = self._intake.next_suspect()
        if finishing or looking or suspect is not None:
            # While it is unclear which outcome was refused, they go without a claim.
            claims = looking and not self._refusals.apart
            self._exchange(finishing, room if claims else 0, suspect, now)
            return 0.0
        return self._idle(connection, room, now)

    def _stream(self, now: float) -> float:
        """While busy: outcomes and claims at the same time, each as soon as the last landed."""
        carrier = self._carrier
        self._land_outcomes(now)
        self._hear()
        if self._inbox.take_check():
            self._reconcile_at = now
        calm = now < self._reconcile_at and self._claims and not self._refusals.apart
        if not calm or self._ledger.asks(now) or self._intake.next_suspect():
            return self._leave_stream(now)
        if not carrier.outcomes.under_way and (finishing := self._refusals.batch()):
            carrier.outcomes.go(finishing=finishing, careful=self._refusals.careful(now))
        self._land_claims(now)
        if not self._busy:
            return self._leave_stream(now)
        self._send_claims(now)
        # With both on their way, an outcome more is no news.
        full = carrier.outcomes.under_way and carrier.claims.under_way
        carrier.wait(max(self._reconcile_at - now, 0.001), hear=not full)
        return 0.0

    def _leave_stream(self, now: float) -> float:
        """Land what is under way, and go on in single round trips."""
        self._land_outcomes(now, wait=True)
        self._land_claims(now, wait=True)
        self._busy, self._due = False, True
        return 0.0

    def _drop(self, now: float) -> None:
        """Something failed: land what still answers, and compare all else with the table."""
        for line, land in (
            (self._carrier.outcomes, self._land_outcomes),
            (self._carrier.claims, self._land_claims),
        ):
            try:
                land(now, wait=True)
            except psycopg.Error:
                line.give_up()
        self._ledger.unanswered()
        self._busy, self._unsure, self._reconcile_at = False, True, 0.0
        self._certain_at = now + RARELY

    def _hear(self) -> None:
        owe = self._ledger.owe
        for done in self._inbox.take_outcomes():
            if not owe(done):
                self._emit(events.LeaseGone(done.id, done.lease))
        for queue, priority in self._inbox.take_lanes():
            self._lanes.add(queue, priority)
            self._due = True
        for heads in self._inbox.take_heads():
            # What stands there since the last look is tried at every poll, and news at once.
            news, self._heads, self._found = heads != self._heads, heads, True
            self._due |= self._lanes.lower(heads) or (self._armed and news)
        self._due |= self._inbox.take_look()

    def _connected(self) -> Connection:
        connection, fresh = self._carrier.connection()
        if fresh:
            self._reconcile_at = 0.0
            self._certain_at = time.monotonic() + RARELY
            self._armed, self._due = False, True
        return connection

    def _room(self, now: float) -> int:
        room = min(self._intake.room(), MOST_OWED - self._ledger.owed()) if self._claims else 0
        self._pace.room(room, now)
        return room

    def _exchange(
        self,
        finishing: list[Succeeded | Unsuccessful],
        room: int,
        suspect: Attempt | None,
        now: float,
    ) -> None:
        lanes = self._lanes.plan(room, now) if room > 0 else []
        suspect_id = suspect.job.id if suspect is not None else None
        reply = self._carrier.together(finishing, lanes=lanes, room=room, suspect_id=suspect_id)
        self._recorded(finishing, reply, now)
        if suspect is not None:
            self._intake.start_suspect()
        if room > 0:
            self._claimed(reply.claimed, lanes, room, now)
            self._intake.take(reply.claimed, now)

    def _land_outcomes(self, now: float, *, wait: bool = False) -> None:
        if (landed := self._carrier.outcomes.answer(wait=wait)) is not None:
            order, reply = landed
            self._recorded(order["finishing"], reply, now)

    def _land_claims(self, now: float, *, wait: bool = False) -> None:
        while (landed := self._carrier.claims.answer(wait=wait)) is not None:
            order, reply = landed
            self._claimed(reply.claimed, order["lanes"], order["room"], now)
            if not wait:
                self._send_claims(now, arrived=len(reply.claimed))
            self._intake.take(reply.claimed, now)
            if not self._claims:
                self._intake.give_all_back()

    def _send_claims(self, now: float, *, arrived: int = 0) -> None:
        """Keep claims under way: the next one waits in line, so that the server never does."""
        claims = self._carrier.claims
        while self._busy and len(claims.under_way) < CLAIMS_UNDER_WAY:
            asked = sum(order["room"] for order in claims.under_way)
            room = min(self._room(now) - asked - arrived, store.BATCH)
            if room < (MANY if claims.under_way or arrived else 1):
                return
            claims.go(lanes=self._lanes.plan(room, now), room=room)

    def _recorded(
        self, finishing: Sequence[Succeeded | Unsuccessful], reply: ExchangeReply, now: float
    ) -> None:
        confirmed = self._ledger.confirmed(finishing, reply.recorded, reply.cancelled)
        for done, attempt in confirmed:
            # From now on, not from when it was sent: the server's clock said when it is due.
            due = self._pace.expect(time.monotonic() + done.delay, now)
            self._poll_at = min(self._poll_at, due)
            if attempt is not None:
                self._tell(done, attempt.job)
        self._refusals.recorded()

    def _claimed(
        self, claimed: list[ClaimedJob], lanes: list[LaneClaim], room: int, now: float
    ) -> None:
        self._lanes.claimed(claimed)
        left_out = self._lanes.rest(lanes, claimed, now)
        self._pace.claimed(len(claimed), now)
        self._due = left_out or len(claimed) >= room
        self._busy = len(claimed) >= MANY
        self._found = False
        if claimed:
            self._reconcile_at = min(self._reconcile_at, now + RECONCILE_EVERY)
        self._poll_at = now + self._pace.pause(now)

    def _next_poll(self) -> float:
        """When to look for work unasked: not while the maintenance thread looks for all to see.

        That holds while its looks come in time, found nothing, and what they tell is heard.
        """
        inbox = self._inbox
        if self._found or not (self._armed and inbox.hears):
            return self._poll_at
        return max(self._poll_at, min(inbox.watched_until, self._pace.soonest()))

    def _idle(self, connection: Connection, room: int, now: float) -> float:
        """Nothing to do: arm or disarm when idleness changed, and say how long to wait."""
        wants = self._inbox.listening and self._claims and room > 0 and not self._pace.fast
        if wants and not self._armed:
            values = {"worker_id": self._worker_id, "queues": list(self._lanes.queues)}
            store.run(connection, self._settings, "sleep", values)
            # Only what commits from now on notifies: look once more before sleeping.
            self._armed = self._due = True
            return 0.0
        if self._armed and (self._pace.fast or self._pace.full(now) or not self._claims):
            store.run(connection, self._settings, "awake", {"worker_id": self._worker_id})
            self._armed = False
        times = [self._reconcile_at, now + LONGEST_SLEEP, self._ledger.next_question()]
        if room > 0:
            times.append(self._next_poll())
        return max(min(at for at in times if at is not None) - now, 0.001)

    def _settle(self, connection: Connection, now: float) -> None:
        """Ask the table what became of outcomes that were not confirmed."""
        keys = self._ledger.questions(now, store.BATCH)
        if not keys:
            return
        for id_, lease, verdict in store.settle(connection, self._settings, keys):
            if not self._ledger.answered((id_, lease), verdict, now):
                self._emit(events.LeaseGone(id_, lease))

    def _reconcile(self, connection: Connection, now: float) -> None:
        """Compare what the table says this worker runs with what it knows."""
        rows = store.run(connection, self._settings, "reconcile", {"worker_id": self._worker_id})
        calm = now >= self._certain_at and self._ledger.quiet() and not rows
        pause = RARELY if calm else RECONCILE_EVERY
        self._reconcile_at = now + pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self._unsure = False
        table = {(id_, lease): asked for id_, lease, asked in rows}
        for key in filter(self._ledger.unknown, table):
            # Claimed by an exchange whose reply was lost; it may also commit after the loss.
            self._ledger.owe(Unsuccessful(*key, "ready", refund=1))
        for attempt in self._ledger.running():
            if attempt.key not in table:
                self._intake.end(attempt, "lost")
            elif table[attempt.key]:
                self._intake.end(attempt, "cancel")
        if self._claims:
            self._intake.give_back(HELD_BACK, delay=1.0)

    def stop(self) -> None:
        """Claim nothing more and give back what has not started."""
        self._claims = False
        self._intake.give_all_back()

    def cut(self) -> int:
        """Ask every handler that still runs to end; how many those are."""
        return self._intake.end_all("stop")

    def drop_all(self) -> None:
        """The leases are somebody else's: start nothing, and ask what runs to end."""
        self._claims = False
        self._intake.forget_unstarted()
        self._intake.end_all("lost")

    def abandon(self) -> None:
        """Record attempts as interrupted whose handlers would not end."""
        for attempt in self._ledger.running():
            reason = "the worker stopped before the handler was done"
            self._ledger.owe(outcome.interrupted(attempt.job, reason))

    def running(self) -> int:
        """How many attempts have no outcome yet."""
        return len(self._ledger.running())

    def idle(self) -> bool:
        """Whether no handler runs."""
        return self._intake.idle()

    def quiet(self) -> bool:
        """Whether nothing is held, nothing is left to record, and no claim may have been lost."""
        self._hear()
        return self._ledger.quiet() and not self._unsure
