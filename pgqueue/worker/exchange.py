"""The exchange: outcomes go out, jobs come in, on one connection, in one round trip.

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
from pgqueue.errors import ConnectionFailed, InvalidPayload
from pgqueue.outcome import Succeeded, Unsuccessful
from pgqueue.telemetry import events
from pgqueue.worker import execution
from pgqueue.worker.pace import Pace
from pgqueue.worker.parts import Attempt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.job import ClaimedJob
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.inbox import Inbox
    from pgqueue.worker.lanes import Lanes
    from pgqueue.worker.ledger import Ledger
    from pgqueue.worker.link import Link
    from pgqueue.worker.parts import Executor, Why
    from pgqueue.worker.registry import Registry

RECONCILE_EVERY: Final = 5.0
"""Seconds between two comparisons of what the table says this worker runs with what it knows."""
HELD_BACK: Final = 2.0
"""Seconds that a claimed job may wait for a slot before another worker may have it."""

# The server refused a value, not the exchange: data exception, integrity, program limit.
BAD_VALUE: Final = ("22", "23", "54")


class Exchange:
    """One worker's exchange; every method is called from one thread.

    Args:
        link: the exchange's own connection.
        settings: limits and pauses.
        worker_id: this worker's row.
        worker: its name.
        lanes: where to look for work.
        registry: what this worker can run.
        executors: who runs plain functions (False) and who runs coroutines (True).
        inbox: what other threads say.
        ledger: what is held and owed.
        emit: takes events.
    """

    def __init__(
        self,
        *,
        link: Link,
        settings: Settings,
        worker_id: int,
        worker: str,
        lanes: Lanes,
        registry: Registry,
        executors: Mapping[bool, Executor],
        inbox: Inbox,
        ledger: Ledger,
        emit: Events,
    ) -> None:
        self._link, self._settings, self._emit = link, settings, emit
        self._worker_id, self._worker = worker_id, worker
        self._lanes, self._registry, self._executors = lanes, registry, executors
        self._inbox, self._ledger = inbox, ledger
        self._pace = Pace(settings.poll_interval, time.monotonic())
        self._batch = store.BATCH
        self._claims = self._due = True
        self._armed = False
        self._poll_at = self._reconcile_at = 0.0

    def step(self) -> float:
        """Do what there is to do; the seconds until there may be more."""
        try:
            pause = self._step(time.monotonic())
        except psycopg.Error as error:
            return 0.0 if self._isolate(error) else self._link.failed(error)
        except ConnectionFailed as error:
            return self._link.failed(error)
        self._link.worked()
        return pause

    def _step(self, now: float) -> float:
        self._hear()
        connection = self._connected()
        self._settle(connection, now)
        if now >= self._reconcile_at or self._inbox.take_check():
            self._reconcile(connection, now)
        room = self._room(now)
        finishing = self._ledger.batch(self._batch)
        looking = room > 0 and (self._due or now >= self._poll_at or bool(finishing))
        suspect = self._next_suspect()
        if finishing or looking or suspect is not None:
            self._exchange(connection, finishing, room if looking else 0, suspect, now)
            return 0.0
        return self._idle(connection, room, now)

    def _hear(self) -> None:
        for done in self._inbox.take_outcomes():
            if not self._ledger.owe(done):
                self._emit(events.LeaseGone(done.id, done.lease))
        for queue, priority in self._inbox.take_lanes():
            self._lanes.add(queue, priority)
            self._due = True
        for heads in self._inbox.take_heads():
            self._due |= self._lanes.lower(heads)
        self._due |= self._inbox.take_look()

    def _connected(self) -> Connection:
        connection = self._link.connection()
        if self._link.fresh:
            self._reconcile_at = 0.0
            self._armed, self._due = False, True
        return connection

    def _room(self, now: float) -> int:
        if not self._claims:
            return 0
        room = min(executor.room() for executor in self._executors.values())
        room = min(room - len(self._ledger.suspects), store.BATCH)
        self._pace.room(room, now)
        return room

    def _exchange(
        self,
        connection: Connection,
        finishing: Sequence[Succeeded | Unsuccessful],
        room: int,
        suspect: Attempt | None,
        now: float,
    ) -> None:
        reply = store.exchange(
            connection,
            self._settings,
            worker_id=self._worker_id,
            worker=self._worker,
            succeeded=[done for done in finishing if isinstance(done, Succeeded)],
            unsuccessful=[done for done in finishing if isinstance(done, Unsuccessful)],
            lanes=self._lanes.plan(room) if room > 0 else (),
            room=room,
            suspect_id=suspect.job.id if suspect is not None else None,
        )
        for done, attempt in zip(
            finishing, self._ledger.confirmed(finishing, reply.recorded), strict=True
        ):
            if isinstance(done, Unsuccessful):
                self._poll_at = min(self._poll_at, now + done.delay)
                if attempt is not None:
                    self._tell(done, attempt)
        if suspect is not None:
            self._ledger.suspect = self._ledger.suspects.popleft()
            self._executors[suspect.task.is_async].start([suspect])
        if room > 0:
            self._claimed(reply.claimed, room, now)
        self._batch = min(self._batch * 2, store.BATCH)

    def _tell(self, done: Unsuccessful, attempt: Attempt) -> None:
        if done.ending not in ("retried", "dead"):
            return
        job = attempt.job
        delay = done.delay if done.state == "ready" else None
        kind, message = done.error_type or "", done.message or ""
        self._emit(events.JobFailed(job.id, job.task, job.attempt, kind, message, delay))

    # -- claiming ----------------------------------------------------------------------------

    def _claimed(
        self, claimed: Sequence[tuple[ClaimedJob, datetime]], room: int, now: float
    ) -> None:
        self._lanes.claimed(claimed)
        self._pace.claimed(len(claimed), now)
        self._due = len(claimed) >= room
        self._poll_at = now + self._pace.pause()
        batches: dict[bool, list[Attempt]] = {}
        for job, _ in sorted(claimed, key=_in_order):
            task = self._registry.find(job.task)
            if task is None:
                self._ledger.owe(outcome.release(job, delay=self._registry.missed(job.task, now)))
            elif job.expired:
                self._ledger.owe(outcome.expired(job))
            else:
                attempt = Attempt(job, task)
                self._ledger.hold(attempt)
                waits = self._ledger.suspects if job.suspect else None
                (batches.setdefault(task.is_async, []) if waits is None else waits).append(attempt)
        for is_async, attempts in batches.items():
            self._executors[is_async].start(attempts)
        for unknown in self._registry.warnings(now):
            self._emit(unknown)

    def _next_suspect(self) -> Attempt | None:
        """The suspect to name in the next exchange, before it starts; at most one runs."""
        waiting = self._ledger.suspects
        return waiting[0] if waiting and self._ledger.suspect is None else None

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
        times = [self._reconcile_at, self._ledger.next_question()]
        if room > 0:
            times.append(self._poll_at)
        return max(min(at for at in times if at is not None) - now, 0.001)

    # -- asking the table --------------------------------------------------------------------

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
        self._reconcile_at = now + RECONCILE_EVERY * random.uniform(0.8, 1.2)  # noqa: S311
        table = {(id_, lease): asked for id_, lease, asked in rows}
        for key in filter(self._ledger.unknown, table):
            # Claimed by an exchange whose reply was lost; it may also commit after the loss.
            self._ledger.owe(Unsuccessful(*key, "ready", refund=1))
        for attempt in self._ledger.running():
            if attempt.key not in table:
                self._end(attempt, "lost")
            elif table[attempt.key]:
                self._end(attempt, "cancel")
        if self._claims:
            self._give_back(HELD_BACK, delay=1.0)

    def _end(self, attempt: Attempt, why: Why) -> None:
        if attempt.why is not None:
            return
        if attempt not in self._ledger.suspects:
            self._executors[attempt.task.is_async].cancel(attempt, why)
            return
        self._ledger.suspects.remove(attempt)
        attempt.why = why
        self._ledger.owe(execution.cut(attempt))

    # -- ending ------------------------------------------------------------------------------

    def _give_back(self, older_than: float, *, delay: float) -> None:
        """Release claimed jobs that wait for a slot, so that another worker can have them."""
        for executor in self._executors.values():
            for attempt in executor.unstarted(older_than):
                self._ledger.owe(outcome.release(attempt.job, delay=delay))

    def stop(self) -> None:
        """Claim nothing more and give back what has not started."""
        self._claims = False
        self._give_back(0.0, delay=0.0)
        while self._ledger.suspects:
            self._ledger.owe(outcome.release(self._ledger.suspects.popleft().job))

    def cut(self) -> int:
        """Ask every handler that still runs to end; how many those are."""
        running = self._ledger.running()
        for attempt in running:
            self._end(attempt, "stop")
        return len(running)

    def drop_all(self) -> None:
        """The leases are somebody else's: start nothing, and ask what runs to end."""
        self._claims = False
        for executor in self._executors.values():
            executor.unstarted(0.0)
        for attempt in self._ledger.running():
            self._end(attempt, "lost")

    def running(self) -> int:
        """How many attempts have no outcome yet."""
        return len(self._ledger.running())

    def idle(self) -> bool:
        """Whether no handler runs."""
        return not any(executor.in_hand() for executor in self._executors.values())

    def abandon(self) -> None:
        """Record attempts as interrupted whose handlers would not end."""
        for attempt in self._ledger.running():
            reason = "the worker stopped before the handler was done"
            self._ledger.owe(outcome.interrupted(attempt.job, reason))

    def quiet(self) -> bool:
        """Whether nothing is held and nothing is left to record."""
        self._hear()
        return self._ledger.quiet()

    # -- failing -----------------------------------------------------------------------------

    def _isolate(self, error: psycopg.Error) -> bool:
        """A value was refused: halve the batch until it stands alone; then it is dead instead."""
        sent = self._ledger.batch(self._batch)
        if not (error.sqlstate or "").startswith(BAD_VALUE) or not sent:
            return False
        if len(sent) > 1:
            self._batch = len(sent) // 2
            return True
        if isinstance(sent[0], Unsuccessful):
            return False
        refused = InvalidPayload(f"PostgreSQL refused the result: {error}")
        dead = Unsuccessful(sent[0].id, sent[0].lease, "dead", ending="dead")
        dead.error_type, dead.message = "InvalidPayload", outcome.clean(str(refused))
        self._ledger.replace(sent[0], dead)
        return True


def _in_order(claimed: tuple[ClaimedJob, datetime]) -> tuple[int, datetime, int]:
    job, run_at = claimed
    return -job.priority, run_at, job.id
