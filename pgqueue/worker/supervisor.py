"""The supervisor: starts workers, beats for them, restarts the dead and takes their jobs.

`pgqueue worker` is always a supervisor with one worker or more: somebody must be left to say that
a process died, and which handlers ran in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Final

import psycopg

from pgqueue.errors import ConnectionFailed
from pgqueue.telemetry import events, wording
from pgqueue.telemetry.events import Events
from pgqueue.worker import board as words, cells, loop
from pgqueue.worker.board import Board
from pgqueue.worker.cells import Cells
from pgqueue.worker.heartbeat import Heartbeat
from pgqueue.worker.link import Link
from pgqueue.worker.process import Order
from pgqueue.worker.restarts import Restarts, reason
from pgqueue.worker.steps.rescue import Rescue, bury
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
STALLED: Final = 60.0
"""Seconds without progress of a worker's engine after which it gets no more heartbeats."""
TICK: Final = 0.05
NEWS: Final = 100
"""Jobs in one line to a worker: a line this short is written whole, or not at all."""


class Child:
    """One worker's process, and what it shares with us."""

    def __init__(self, order: Order, slots: int) -> None:
        self.board = Board(slots)
        self.born = time.monotonic()
        self.cell = order.cell
        self.progress, self.progress_at = -1, self.born
        self.replaced = False
        self.process = Popen(
            [sys.executable, "-m", "pgqueue.worker.process"],
            stdin=PIPE,
            pass_fds=[self.board.fd],
            start_new_session=True,
        )
        assert self.process.stdin is not None  # noqa: S101 - PIPE
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(dataclasses.replace(order, board=self.board.fd).line())
            self.process.stdin.flush()

    @property
    def worker_id(self) -> int:
        """The worker's row; 0 before it is registered and after it left."""
        return self.board.get(words.WORKER)

    @property
    def listens(self) -> bool:
        """Whether it takes news: a cell may be gone in a moment."""
        return bool(self.board.get(words.READY)) and not self.cell

    def makes_progress(self, now: float) -> bool:
        """Whether its engine has moved lately."""
        if (progress := self.board.get(words.PROGRESS)) != self.progress:
            self.progress, self.progress_at = progress, now
        return now - self.progress_at < STALLED

    def send(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def tell_dead(self, ids: Sequence[int]) -> None:
        """Tell it of jobs that are dead, for the app's hooks; never waits for it.

        Raises:
            OSError: it does not listen.
        """
        assert self.process.stdin is not None  # noqa: S101 - PIPE
        fd = self.process.stdin.fileno()
        os.set_blocking(fd, False)
        os.write(fd, json.dumps(list(ids)).encode() + b"\n")

    def kill_group(self) -> None:
        """End what is left of its process group: processes that handlers started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back what we shared."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.board.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Death:
    """A worker whose process is gone: what the beat thread has to bury."""

    worker_id: int
    started: tuple[int, ...]
    ended: tuple[int, ...]
    intended: bool


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
        self._children: list[Child] = []
        self._start_at: list[float] = [0.0] * processes
        self._restarts = Restarts()
        self._cells = Cells(order)
        self._signals = 0
        self._was_ready = False
        self._code = 0
        self._deaths: queue.SimpleQueue[Death] = queue.SimpleQueue()
        self._unburied = 0
        self._wake = loop.Wake()

    def run(self) -> int:
        """Start the workers and keep them running; the exit code."""
        self._catch_signals()
        rota = self._start_rota()
        try:
            while not self._finished():
                self._start_missing()
                self._start_cell()
                self._reap()
                self._pass_on()
                time.sleep(TICK)
        finally:
            self._wait_for_burials()
            rota.closed = True
            self._wake()
        return self._code

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
        """Stop the workers; called again, kill them."""
        self._signals += 1
        self._start_at = []
        for child in self._children:
            child.send(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    # -- children ----------------------------------------------------------------------------

    def _start_missing(self) -> None:
        now = time.monotonic()
        for at in [at for at in self._start_at if at <= now]:
            self._start_at.remove(at)
            self._children.append(Child(self._order, self._settings.slots))

    def _start_cell(self) -> None:
        running = [child.board.busy() for child in self._children if child.cell]
        if not self._signals and self._cells.wants(running, time.monotonic()):
            self._children.append(Child(self._cells.order, cells.SLOTS))

    def _reap(self) -> None:
        for child in list(self._children):
            if child.board.get(words.RETIRING):
                self._replace(child, 0.0)
            code = child.process.poll()
            # After the poll: a process may be ready, and dead by its first job, in between.
            self._was_ready = self._was_ready or bool(child.board.get(words.READY))
            if code is not None:
                self._children.remove(child)
                self._ended(child, code)

    def _ended(self, child: Child, code: int) -> None:
        child.kill_group()
        worker_id, started = child.worker_id, tuple(child.board.running())
        fenced, asked = bool(child.board.get(words.FENCED)), self._signals > 0
        if worker_id:
            self._unburied += 1
            forced = self._signals > 1
            ended = (*child.board.ended_last(), *child.board.apart())
            self._deaths.put(Death(worker_id, started, ended, intended=fenced or forced))
            self._wake()
            if not fenced and not asked:
                name = f"process {child.process.pid}"
                self._emit(events.WorkerDied(worker_id, name, reason(code)))
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
            # It cannot even start: the app does not import, the schema is behind.
            self._code = code
            self._signals = max(self._signals, 1)
            self._start_at = []
            for other in self._children:
                other.send(signal.SIGTERM)
        else:
            self._replace(child, self._restarts.pause(child.born, guilty=bool(started)))

    def _replace(self, child: Child, pause: float) -> None:
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
        heartbeat = Heartbeat(self._settings, self._living, self._beaten, self._missing)
        rescue = Rescue(self._settings, self._emit, heartbeat.trusted_since)
        watch = WatchSuspects(self._settings, self._order.queues, cells.MOST, self._cells.wait)
        steps: dict[str, Step] = {"heartbeat": heartbeat, "rescue": rescue, "suspects": watch}

        def urgent(connection: Connection) -> None:
            if self._bury(connection):
                rota.soon("suspects")

        rota = Rota(link, steps, self._emit, urgent=urgent)
        loop.start("supervisor", rota.step, self._wake)
        return rota

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

    def _bury(self, connection: Connection) -> bool:
        """Bury who has died; whether somebody has."""
        if self._deaths.empty():
            return False
        while not self._deaths.empty():
            death = self._deaths.get()
            try:
                bury(connection, self._settings, emit=self._emit, **dataclasses.asdict(death))
            except (psycopg.Error, ConnectionFailed):
                self._deaths.put(death)
                raise
            self._unburied -= 1
        return True

    def _wait_for_burials(self) -> None:
        deadline = time.monotonic() + self._settings.statement_timeout
        while self._unburied and time.monotonic() < deadline:
            time.sleep(TICK)


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
