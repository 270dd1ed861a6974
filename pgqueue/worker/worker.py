"""One worker: its parts, put together, and the order in which it starts and stops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from pgqueue import connections, pruning, revision, store
from pgqueue.errors import ConnectionFailed, PgQueueError
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Events
from pgqueue.wire import require_libpq
from pgqueue.worker import board as words, identity, loop
from pgqueue.worker.attendants import TURNS, Attendants
from pgqueue.worker.board import Board
from pgqueue.worker.carrier import Carrier
from pgqueue.worker.crew import Crew
from pgqueue.worker.endings import Endings
from pgqueue.worker.exchange import Exchange
from pgqueue.worker.hooks import HookRunner, moments
from pgqueue.worker.inbox import Inbox
from pgqueue.worker.intake import Intake
from pgqueue.worker.keeper import Keeper
from pgqueue.worker.lanes import Lanes
from pgqueue.worker.ledger import Ledger
from pgqueue.worker.link import Link
from pgqueue.worker.parts import Attempt
from pgqueue.worker.registry import Registry
from pgqueue.worker.reports import Reports
from pgqueue.worker.retirement import Retirement
from pgqueue.worker.steps.look import Look
from pgqueue.worker.stuck import Stuck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.app import PgQueue
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.options import ExecutorName
    from pgqueue.worker.messages import Source
    from pgqueue.worker.parts import Executor

STOPPED: Final = 0
CUT: Final = 1
FENCED: Final = 75
RETIRED: Final = 76
"""Exit codes: stopped clean; stopped, but handlers were cut; others take it for dead; it has done
enough, and drained."""

GRACE: Final = 1.0
"""Seconds for handlers to end after they were asked to, and for the last exchange after that."""
LINGER: Final = 2.0
"""Seconds without a suspect after which a cell ends itself."""


class Worker:
    """Claims jobs of some queues and runs them until it is told to stop.

    Args:
        app: gives the tasks.
        dsn: the database, as libpq reads it.
        settings: limits and pauses.
        queues: what to work, each with its share of `settings.shares`.
        emit: takes events.
        board: memory shared with a supervisor, which then sends the heartbeats; None for a worker
            inside another program, which beats from a thread of its own: a call that holds the
            interpreter's lock for longer than the time-to-live then lets it look dead.
        cell: run suspects alone, one at a time, and end when there are none. Without a
            supervisor to start cells, suspects run one at a time beside other jobs.
        source: how child processes load the app; needed by tasks with `executor="process"`.

    Raises:
        ConfigError: a task wants a child process, and nobody said how one loads the app.
    """

    def __init__(
        self,
        app: PgQueue,
        *,
        dsn: str,
        settings: Settings,
        queues: Sequence[str],
        emit: Events,
        board: Board | None = None,
        cell: bool = False,
        source: Source | None = None,
    ) -> None:
        self._cell, self._busy_at = cell, time.monotonic()
        self._app, self._dsn, self._settings = app, dsn, settings
        self._queues, self._emit = tuple(queues), emit
        self.hooks: HookRunner | None = None
        self._alone = board is None
        self._board = board or Board(settings.slots)
        self._crew = Crew(app, dsn, settings, source)
        self._wake = loop.Wake()
        self._reports = Reports()
        self._inbox = Inbox(self._wake)
        self._look = Look(settings, list(self._queues), self._inbox)
        self._keeper = Keeper(dsn, settings, app.codec)
        self._stopping_since: float | None = None
        self._cut: int | None = None
        self._stop = self._fenced = self._retiring = False
        self._retirement: Retirement | None = None
        self._broken: BaseException | None = None
        self.worker_id = 0

    def run(self) -> int:
        """Work until stopped; the exit code.

        Raises:
            ConfigError: libpq is too old for a worker, or the DSN for LISTEN cannot be read.
            SchemaError: the schema is not one that this version supports.
            ConnectionFailed: the database does not answer at the start.
        """
        require_libpq()
        if self._settings.listen_dsn is not None:
            connections.parameters(self._settings.listen_dsn, self._settings, "listen")
        link = Link("worker", self._dsn, self._settings, self._emit)
        try:
            self._register(link.connection())
            self._start_hooks()
            if not self._cell:
                # Before the first claim, so that it knows the lanes and takes the best first.
                self._look(link.connection(), {})
            return self._work(link)
        finally:
            link.close()
            if self.hooks is not None:
                self.hooks.close()

    def _work(self, link: Link) -> int:
        stuck = Stuck(self._emit)
        if not (self._alone or self._cell):
            self._retirement = Retirement(self._settings, stuck)
        executors = self._crew.executors(
            self._inbox.done, self._board, stuck, self._emit, self._broke
        )
        claims = Link("claims", self._dsn, self._settings, self._emit)
        me: dict[str, Any] = {"worker_id": self.worker_id, "worker": self._name}
        me["takes"] = "all" if self._alone else "suspects" if self._cell else "unsuspected"
        wake, reports = self._wake, self._reports
        carrier = Carrier(link, claims, self._settings, **me, wake=wake, reports=reports)
        exchange = self._make_exchange(carrier, executors)
        attendants = self._attend()
        if self.hooks is not None:
            self.hooks.worker_started(self.worker_id, self._name, self._queues)
        self._board.put(words.READY, 1)
        try:
            loop.run(lambda: self._step(exchange), self._wake)
            return self._leave(link)
        finally:
            attendants.close()
            carrier.close()
            for executor in executors.values():
                executor.close()
            self._keeper.close()

    def stop(self) -> None:
        """Claim nothing more, let handlers run until the shutdown timeout, then end.

        Safe from any thread and from a signal handler.
        """
        self._stop = True
        self._wake()

    # -- starting ----------------------------------------------------------------------------

    def _register(self, connection: Connection) -> None:
        revision.check(connection)
        settings = self._settings
        store.run(connection, settings, "add_steps", {"names": list(TURNS)})
        said = [(task.name, task.retention) for task in self._app.tasks.values()]
        pruning.announce(connection, settings, said)
        before = time.monotonic_ns()
        registered = identity.register(connection, settings, self._queues, cell=self._cell)
        self.worker_id, self._name = registered
        self._board.put(words.BEAT, before)
        self._board.put(words.WORKER, self.worker_id)
        limits = (settings.concurrency, settings.threads, settings.children)
        self._emit(events.WorkerStarted(self.worker_id, self._name, self._queues, *limits))

    def _start_hooks(self) -> None:
        if moments(self._app):  # all other apps pay nothing
            link = Link("hooks", self._dsn, self._settings, self._emit)
            read = Endings(link, self._settings, lambda: self._stop or self._fenced)
            self.hooks = HookRunner(self._app, self._emit, read)
            self._emit = Events(self._emit, self.hooks.heard)

    def _make_exchange(self, carrier: Carrier, executors: dict[ExecutorName, Executor]) -> Exchange:
        hooks, registry = self.hooks, Registry(self._app.tasks)
        told = hooks.moments if hooks else ()
        ledger = Ledger(hooks.recorded, successes="success" in told) if hooks else Ledger()
        make = hooks.attempt if hooks and "start" in told else Attempt
        said, alone = self._reports, self._cell
        self._intake = Intake(
            executors, registry, ledger, self._emit, reports=said, make=make, alone=alone
        )
        self._intake.keeper = self._keeper
        return Exchange(
            carrier=carrier,
            settings=self._settings,
            worker_id=self.worker_id,
            lanes=Lanes(self._queues, self._settings.shares),
            intake=self._intake,
            inbox=self._inbox,
            ledger=ledger,
            emit=self._emit,
        )

    def _attend(self) -> Attendants:
        """Start the parts that have threads of their own."""
        attendants = Attendants(
            self._dsn,
            self._settings,
            self._emit,
            worker_id=self.worker_id,
            inbox=self._inbox,
            failed=self._broke,
        )
        if not self._cell:
            attendants.start_maintenance(self._look, self._reports)
        if self._alone:
            attendants.start_heartbeat(self._board)
        if self._settings.listen:
            self._wake.source = attendants.start_listener(self._queues)
        return attendants

    # -- running and stopping ----------------------------------------------------------------

    def _broke(self, error: BaseException) -> None:
        """A thread of ours ended with an error: so shall this worker; called by that thread."""
        self._broken = error
        self._wake()

    def _step(self, exchange: Exchange) -> float | None:
        if self._broken is not None:
            self._board.put(words.FENCED, 1)  # no job is to blame
            self._emit(events.WorkerBroken(self.worker_id, self._broken))
            raise PgQueueError(f"worker {self.worker_id} cannot go on") from self._broken
        self._board.put(words.PROGRESS, self._board.get(words.PROGRESS) + 1)
        if (reason := self._fence()) is not None:
            return self._drop_all(exchange, reason)
        if self._stop and self._stopping_since is None:
            self._begin_to_stop(exchange)
        elif self._retirement is not None and self._stopping_since is None:
            self._retire_in_time(exchange, self._retirement)
        pause = exchange.step()
        if self._cell:
            self._linger(exchange)
        if self._stopping_since is None:
            return None if self._retiring and exchange.quiet() else pause
        return self._stopping(exchange, pause, time.monotonic() - self._stopping_since)

    def _linger(self, exchange: Exchange) -> None:
        now = time.monotonic()
        if not exchange.quiet():
            self._busy_at = now
        elif now - self._busy_at > LINGER:
            self.stop()

    def _retire_in_time(self, exchange: Exchange, retirement: Retirement) -> None:
        """Claim nothing more and let the supervisor replace us, if we have done enough.

        What runs may take its time: our place is taken already.
        """
        if self._retiring:
            return
        if (reason := retirement.reason(self._intake.ended, time.monotonic())) is not None:
            self._retiring = True
            self._board.put(words.RETIRING, 1)
            exchange.stop()
            self._emit(events.WorkerRetiring(self.worker_id, reason, exchange.running()))

    def _begin_to_stop(self, exchange: Exchange) -> None:
        self._stopping_since = time.monotonic()
        exchange.stop()
        timeout = self._settings.shutdown_timeout
        self._emit(events.WorkerStopping(self.worker_id, exchange.running(), timeout))

    def _stopping(self, exchange: Exchange, pause: float, passed: float) -> float | None:
        timeout = self._settings.shutdown_timeout
        if exchange.quiet() or passed > timeout + 5 * GRACE:
            return None
        if passed > timeout and self._cut is None:
            self._cut = exchange.cut()
        elif passed > timeout + GRACE:
            exchange.abandon()
        return min(pause, 0.05 if self._cut is not None else max(timeout - passed, 0.0) + 0.001)

    def _fence(self) -> str | None:
        """Why others may take this worker for dead, if they may."""
        if self._board.get(words.BURIED):
            return "it was declared dead"
        age = time.monotonic() - self._board.get(words.BEAT) / 1e9
        if age > 0.9 * self._settings.ttl:
            return f"no heartbeat was confirmed for {age:.1f} s"
        return None

    def _drop_all(self, exchange: Exchange, reason: str) -> float | None:
        """Start nothing, ask handlers to end, give them a moment, and leave without a word."""
        now = time.monotonic()
        if not self._fenced:
            self._fenced, self._stopping_since = True, now
            self._board.put(words.FENCED, 1)
            self._emit(events.WorkerFenced(self.worker_id, reason))
            exchange.drop_all()
        if exchange.idle() or now - (self._stopping_since or now) > GRACE:
            return None
        return 0.05

    def _leave(self, link: Link) -> int:
        if self._fenced:
            return FENCED
        try:
            values = {"worker_id": self.worker_id}
            store.run(link.connection(), self._settings, "leave", values)
        except (psycopg.Error, ConnectionFailed) as error:
            link.failed(error)
            return CUT
        self._board.put(words.WORKER, 0)
        cut = self._cut or 0
        self._emit(events.WorkerStopped(self.worker_id, cut))
        if self._retiring and not self._stop:
            return RETIRED
        return CUT if cut else STOPPED
