"""The threads that attend a worker's exchange: its maintenance, its heartbeat, its listener."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pgqueue import listen
from pgqueue.worker import board as words, loop
from pgqueue.worker.heartbeat import Heartbeat, Seen
from pgqueue.worker.link import Link
from pgqueue.worker.steps import (
    dead,
    depths,
    effects,
    expire,
    keys,
    leftovers,
    look,
    progress,
    prune,
)
from pgqueue.worker.steps.rescue import Rescue
from pgqueue.worker.steps.rota import Rota, Step
from pgqueue.worker.steps.turns import Shared, Turns

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.board import Board
    from pgqueue.worker.inbox import Inbox
    from pgqueue.worker.reports import Reports

TURNS: Final = tuple(
    step.NAME for step in (look, expire, keys, depths, leftovers, effects, prune, dead)
)
"""The steps that one worker takes for all: each has a row in `steps`."""
PRIORITY: Final = re.compile(r"-?[0-9]{1,3}")
PATIENCE: Final = 1.0
"""Seconds for each thread to end."""


class Attendants:
    """Starts the threads beside one worker's exchange, and ends them.

    Args:
        dsn: the database, as libpq reads it; each thread has a connection of its own.
        settings: limits and pauses.
        emit: takes events.
        worker_id: the worker's row.
        inbox: where what is found and heard goes to.
        failed: told when one of the threads cannot go on.
    """

    def __init__(
        self,
        dsn: str,
        settings: Settings,
        emit: Events,
        *,
        worker_id: int,
        inbox: Inbox,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._dsn, self._settings, self._emit = dsn, settings, emit
        self._worker_id, self._inbox, self._failed = worker_id, inbox, failed
        self._rotas: list[tuple[Rota, loop.Wake]] = []
        self._threads: list[threading.Thread] = []
        self._listener: listen.Listener | None = None

    def start_maintenance(self, watch: look.Look, reports: Reports) -> None:
        """Start the steps that keep the tables in order.

        Args:
            watch: the look for due jobs, and for turns.
            reports: what handlers say of their progress.
        """
        settings, emit = self._settings, self._emit
        shared: dict[str, Shared] = {
            expire.NAME: expire.Expire(settings, emit),
            keys.NAME: keys.SweepKeys(settings),
            depths.NAME: depths.CountDepths(settings, emit),
            prune.NAME: prune.Prune(settings, emit),
            dead.NAME: dead.WatchDead(settings, emit),
            leftovers.NAME: leftovers.SweepLeftovers(settings),
            effects.NAME: effects.SweepEffects(settings),
        }
        own = progress.WriteProgress(settings, reports)
        turns = Turns(watch, shared, emit)
        rota = self._make_rota("maintenance", {"look": turns, progress.NAME: own})
        self._start_rota("maintenance", rota)

    def start_heartbeat(self, board: Board) -> None:
        """Beat for this worker alone, and rescue from others: nobody else does it for us.

        Args:
            board: where the exchange sees whether it is still taken for alive.
        """

        def seen(what: Seen) -> None:
            if rescuer.see(what.silent):
                rota.soon("rescue")

        heartbeat = Heartbeat(
            self._settings,
            lambda: [self._worker_id],
            lambda _, at: board.put(words.BEAT, int(at * 1e9)),
            lambda _: board.put(words.BURIED, 1),
            seen,
        )
        rescuer = Rescue(self._settings, self._emit, heartbeat.trusted_since)
        rota = self._make_rota("heartbeat", {"heartbeat": heartbeat, "rescue": rescuer})
        self._start_rota("heartbeat", rota)

    def start_listener(self, queues: Sequence[str]) -> listen.Listener:
        """Listen for jobs of these queues and for cancels, and tell the inbox."""
        link = Link("listen", self._dsn, self._settings, self._emit)

        def connected(listening: bool) -> None:
            if listening:
                link.worked()
            self._listening(listening)

        listener = listen.Listener(
            self._settings.listen_dsn or self._dsn,
            self._settings,
            [*(listen.QUEUE_PREFIX + queue for queue in queues), listen.WORKER_CHANNEL],
            heard=self._heard,
            connected=connected,
            failed=link.failed,
            lent=True,
        )
        self._threads.append(loop.start("listen", listener.step, loop.Wake(), self._failed))
        self._listener = listener
        return listener

    def close(self) -> None:
        """Ask all threads to end, and wait a moment for each."""
        if self._listener is not None:
            self._listener.close()
        for rota, wake in self._rotas:
            rota.closed = True
            wake()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _make_rota(self, name: str, steps: dict[str, Step]) -> Rota:
        return Rota(Link(name, self._dsn, self._settings, self._emit), steps, self._emit)

    def _start_rota(self, name: str, rota: Rota) -> None:
        wake = loop.Wake()
        self._threads.append(loop.start(name, rota.step, wake, self._failed))
        self._rotas.append((rota, wake))

    def _heard(self, channel: str, payload: str) -> None:
        """A notification; anybody may send any, so nothing in it is trusted."""
        self._inbox.hears = True
        if channel == listen.WORKER_CHANNEL:
            if payload == str(self._worker_id):
                self._inbox.check()
            return
        priority = int(payload) if PRIORITY.fullmatch(payload) else 0
        self._inbox.notified(channel.removeprefix(listen.QUEUE_PREFIX), priority)

    def _listening(self, connected: bool) -> None:
        self._inbox.connected(connected)
        if connected:
            # What was said while nobody listened: new jobs, and cancels.
            self._inbox.look()
            self._inbox.check()
