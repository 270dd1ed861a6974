"""The supervisor: starts workers, beats for them, restarts the dead and takes their jobs.

`pgqueue worker` is always a supervisor with one worker or more: somebody must be left to say that
a process died, and which handlers ran in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from pgqueue.telemetry import events, wording
from pgqueue.telemetry.events import Events
from pgqueue.worker import board as words, cells, loop
from pgqueue.worker.burials import Burials, Death
from pgqueue.worker.cells import Cells
from pgqueue.worker.heartbeat import Heartbeat, Seen
from pgqueue.worker.link import Link
from pgqueue.worker.process import Order
from pgqueue.worker.restarts import Restarts, reason
from pgqueue.worker.spawn import Spawned
from pgqueue.worker.steps.rescue import Rescue
from pgqueue.worker.steps.rota import Rota, Step
from pgqueue.worker.steps.suspects import WatchSuspects
from pgqueue.worker.worker import RETIRED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.lines import Form

FORCED: Final = 130
"""Exit code after a second signal."""
TICK: Final = 0.05
NEWS: Final = 100
"""Jobs in one line to a worker: a line this short is written whole, or not at all."""


class Supervisor:
    """Runs workers until it is told to stop.

    Args:
        order: what each worker's process is told.
        settings: limits and pauses.
        processes: how many workers.
        emit: takes events.
    """

    def __init__(self, order: Order, settings: Settings, processes: int, emit: Events) -> None:
        self._order, self._settings = order, settings
        self._emit = Events(emit, self._hear)
        self._dead: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._children: list[Spawned] = []
        self._start_at: list[float] = [0.0] * processes
        self._restarts = Restarts()
        self._cells = Cells(order)
        self._signals = 0
        self._was_ready = False
        self._code = 0
        self._burials = Burials(settings, self._emit)
        self._wake = loop.Wake()
        self._broken: BaseException | None = None

    def run(self) -> int:
        """Start the workers and keep them running; the exit code."""
        self._catch_signals()
        rota = self._start_rota()
        try:
            while not self._finished():
                self._end_if_broken()
                self._start_missing()
                self._start_cell()
                self._tell_to_end()
                self._reap()
                self._pass_on()
                time.sleep(TICK)
        finally:
            if self._broken is None:
                self._burials.wait()
            rota.closed = True
            self._wake()
        return self._code

    def _end_if_broken(self) -> None:
        """Without heartbeats no worker can go on: stop them, and let somebody start us anew."""
        if self._broken is not None and not self._signals:
            self._emit(events.SupervisorBroken(self._broken))
            self._code = 1
            self.stop()

    def _broke(self, error: BaseException) -> None:
        self._broken = error

    def _finished(self) -> bool:
        return not self._children and (self._signals > 0 or not self._start_at)

    # -- signals -----------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the workers; called again, kill them. Safe wherever a signal interrupts the loop."""
        self._signals += 1

    def _tell_to_end(self) -> None:
        """Pass a stop on to each worker once, also to one that was being started when it came."""
        if not self._signals:
            return
        number = signal.SIGTERM if self._signals == 1 else signal.SIGKILL
        for child in self._children:
            if child.told != number:
                child.told = number
                child.send(number)

    # -- children ----------------------------------------------------------------------------

    def _start_missing(self) -> None:
        now = time.monotonic()
        for at in [at for at in self._start_at if at <= now]:
            if self._signals:
                return
            self._start_at.remove(at)
            self._children.append(Spawned(self._order, self._settings.slots))

    def _start_cell(self) -> None:
        running = [child.board.busy() for child in self._children if child.cell]
        if not self._signals and self._cells.wants(running, time.monotonic()):
            self._children.append(Spawned(self._cells.order, cells.SLOTS))

    def _reap(self) -> None:
        for child in list(self._children):
            if child.board.get(words.RETIRING):
                self._replace(child, 0.0)
            child.give_up(time.monotonic())
            code = child.process.poll()
            # After the poll: a process may be ready, and dead by its first job, in between.
            self._was_ready = self._was_ready or bool(child.board.get(words.READY))
            if code is not None:
                self._children.remove(child)
                self._ended(child, code)

    def _ended(self, child: Spawned, code: int) -> None:
        child.kill_group()
        worker_id, started = child.worker_id, tuple(child.board.running())
        asked = self._signals > 0
        if worker_id:
            self._died(child, code, asked=asked)
        child.close()
        if asked and code == -signal.SIGTERM and not worker_id:
            code = 0  # told to stop before it could listen: it had taken nothing on
        if asked:
            clean = code in (0, RETIRED)
            self._code = FORCED if self._signals > 1 else max(self._code, 0 if clean else 1)
        elif child.cell:
            pause = 0.0 if started or not code else self._restarts.pause(child.born, guilty=False)
            self._cells.ended(time.monotonic(), pause)
        elif not self._was_ready and code > 0:
            self._give_up(code)
        else:
            self._replace(child, self._restarts.pause(child.born, guilty=bool(started)))

    def _died(self, child: Spawned, code: int, *, asked: bool) -> None:
        """It ended without a word: its row stands, and perhaps its jobs."""
        board, fenced = child.board, bool(child.board.get(words.FENCED))
        started, ended = tuple(board.running()), (*board.ended_last(), *board.apart())
        intended = fenced or self._signals > 1
        self._burials.add(Death(child.worker_id, started, ended, intended=intended))
        self._wake()
        if not (fenced or asked):
            name = f"process {child.process.pid}"
            why = "killed, for it did not move any more" if child.given_up else reason(code)
            self._emit(events.WorkerDied(child.worker_id, name, why))

    def _give_up(self, code: int) -> None:
        """It cannot even start: the app does not import, the schema is behind."""
        self._code = code
        self._signals = max(self._signals, 1)

    def _replace(self, child: Spawned, pause: float) -> None:
        """Start another worker in a child's place, once; one that retires may still be draining."""
        if not child.replaced and not self._signals:
            child.replaced = True
            self._start_at.append(time.monotonic() + pause)

    # -- news for hooks: of jobs that died with their worker, which a living one calls -----------

    def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.JobsRescued):
            for id_ in event.dead:
                self._dead.put(id_)

    def _pass_on(self) -> None:
        listening = [child for child in self._children if child.listens]
        while listening and not self._dead.empty():
            ids = [self._dead.get() for _ in range(min(self._dead.qsize(), NEWS))]
            with contextlib.suppress(OSError):  # it ends, or is stuck: then nobody is told
                listening[-1].tell_dead(ids)

    # -- heartbeats and burials, on a thread and a connection of their own ---------------------

    def _start_rota(self) -> Rota:
        link = Link("supervisor", self._order.dsn, self._settings, self._emit)

        def seen(what: Seen) -> None:
            if rescue.see(what.silent):
                rota.soon("rescue")
            if what.suspects:
                rota.soon("suspects")

        heartbeat = Heartbeat(
            self._settings,
            self._living,
            self._beaten,
            self._missing,
            seen,
            queues=self._order.queues,
            most=cells.MOST,
        )
        rescue = Rescue(self._settings, self._emit, heartbeat.trusted_since)
        watch = WatchSuspects(self._settings, self._order.queues, cells.MOST, self._cells.wait)
        steps: dict[str, Step] = {"heartbeat": heartbeat, "rescue": rescue, "suspects": watch}

        def urgent(connection: Connection) -> None:
            if self._burials.bury(connection):
                rota.soon("suspects")

        rota = Rota(link, steps, Events(self._tell_step), urgent=urgent)
        loop.start("supervisor", rota.step, self._wake, self._broke)
        return rota

    def _tell_step(self, event: events.Event) -> None:
        # Until a worker was ready it is the worker that says what is wrong, once and in words.
        if self._was_ready or not isinstance(event, events.StepFailed):
            self._emit(event)

    def _living(self) -> list[int]:
        now = time.monotonic()
        ids = (child.worker_id for child in list(self._children) if child.makes_progress(now))
        return [id_ for id_ in ids if id_]

    def _beaten(self, ids: Sequence[int], at: float) -> None:
        for child in list(self._children):
            if child.worker_id in ids:
                child.board.put(words.BEAT, int(at * 1e9))

    def _missing(self, ids: Sequence[int]) -> None:
        for child in list(self._children):
            if child.worker_id in ids:
                child.board.put(words.BURIED, 1)


def run(
    *,
    app: str,
    app_dir: str,
    dsn: str,
    queues: Sequence[str],
    settings: Settings,
    processes: int,
    log_level: int = logging.INFO,
    log_format: Form = "text",
) -> int:
    """Run workers until a signal: what `pgqueue worker` does.

    Args:
        app: as `module:attribute`.
        app_dir: the folder from which that module is imported.
        dsn: as libpq reads it; the empty string takes the PG* variables.
        queues: what to work.
        settings: limits and pauses, with the command line's in them.
        processes: how many workers.
        log_level: of pgqueue's own log.
        log_format: of all that the processes log to standard error.

    Returns:
        0 stopped clean, 1 handlers were cut, 130 after a second signal; 2, 3, 4 when a worker could
        not start because of the app, the connection, the schema.
    """
    wording.to_stderr(log_level, log_format)
    order = Order(
        app=app,
        dsn=dsn,
        queues=list(queues),
        settings=dataclasses.asdict(settings),
        board=-1,
        log_level=log_level,
        log_format=log_format,
        app_dir=app_dir,
    )
    return Supervisor(order, settings, processes, Events(wording.write)).run()
