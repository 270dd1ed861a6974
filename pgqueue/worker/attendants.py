"""The threads that attend a worker's exchange: its maintenance, its heartbeat, its listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import listen
from pgqueue.worker import board as words, loop
from pgqueue.worker.heartbeat import Heartbeat
from pgqueue.worker.link import Link
from pgqueue.worker.steps import (
    dead,
    depths,
    effects,
    expire,
    keys,
    leftovers,
    probe,
    progress,
    prune,
)
from pgqueue.worker.steps.rescue import Rescue
from pgqueue.worker.steps.rota import Rota, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from pgqueue.config import Settings
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.board import Board
    from pgqueue.worker.inbox import Inbox
    from pgqueue.worker.reports import Reports

TURNS: Final = tuple(
    step.NAME for step in (probe, expire, keys, depths, leftovers, effects, prune, dead)
)
"""The steps that one worker takes for all: each has a row in `steps`."""
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
    """

    def __init__(
        self, dsn: str, settings: Settings, emit: Events, *, worker_id: int, inbox: Inbox
    ) -> None:
        self._dsn, self._settings, self._emit = dsn, settings, emit
        self._worker_id, self._inbox = worker_id, inbox
        self._rotas: list[tuple[Rota, loop.Wake]] = []
        self._threads: list[threading.Thread] = []
        self._listener: listen.Listener | None = None

    def start_maintenance(self, look: probe.Probe, reports: Reports) -> None:
        """Start the steps that keep the tables in order.

        Args:
            look: the step that finds what claims have overlooked.
            reports: what handlers say of their progress.
        """
        settings, emit = self._settings, self._emit
        self._start_rota(
            "maintenance",
            {
                probe.NAME: look,
                expire.NAME: expire.Expire(settings, emit),
                keys.NAME: keys.SweepKeys(settings),
                depths.NAME: depths.CountDepths(settings, emit),
                prune.NAME: prune.Prune(settings, emit),
                dead.NAME: dead.WatchDead(settings, emit),
                leftovers.NAME: leftovers.SweepLeftovers(settings),
                progress.NAME: progress.WriteProgress(settings, reports),
                effects.NAME: effects.SweepEffects(settings),
            },
        )

    def start_heartbeat(self, board: Board) -> None:
        """Beat for this worker alone, and rescue from others: nobody else does it for us.

        Args:
            board: where the exchange sees whether it is still taken for alive.
        """
        heartbeat = Heartbeat(
            self._settings,
            lambda: [self._worker_id],
            lambda _, at: board.put(words.BEAT, int(at * 1e9)),
            lambda _: board.put(words.BURIED, 1),
        )
        rescuer = Rescue(self._settings, self._emit, heartbeat.trusted_since)
        self._start_rota("heartbeat", {"heartbeat": heartbeat, "rescue": rescuer})

    def start_listener(self, queues: Sequence[str]) -> listen.Listener:
        """Listen for jobs of these queues and for cancels, and tell the inbox."""
        link = Link("listen", self._dsn, self._settings, self._emit)
        listener = listen.Listener(
            self._settings.listen_dsn or self._dsn,
            self._settings,
            [*(listen.QUEUE_PREFIX + queue for queue in queues), listen.WORKER_CHANNEL],
            heard=self._heard,
            connected=self._listening,
            failed=link.failed,
            lent=True,
        )
        self._threads.append(loop.start("listen", listener.step, loop.Wake()))
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

    def _start_rota(self, name: str, steps: dict[str, Step]) -> None:
        link = Link(name, self._dsn, self._settings, self._emit)
        rota, wake = Rota(link, steps, self._emit), loop.Wake()
        self._threads.append(loop.start(name, rota.step, wake))
        self._rotas.append((rota, wake))

    def _heard(self, channel: str, payload: str) -> None:
        """A notification; anybody may send any, so nothing in it is trusted."""
        if channel == listen.WORKER_CHANNEL:
            if payload == str(self._worker_id):
                self._inbox.check()
            return
        digits = payload.removeprefix("-")
        priority = int(payload) if digits.isascii() and digits.isdigit() else 0
        self._inbox.notified(channel.removeprefix(listen.QUEUE_PREFIX), priority)

    def _listening(self, connected: bool) -> None:
        self._inbox.listening = connected
        if connected:
            # What was said while nobody listened: new jobs, and cancels.
            self._inbox.look()
            self._inbox.check()
