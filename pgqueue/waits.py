"""What this process waits for: one thread and one connection for all of it.

The connection says in the table which jobs are waited for, so that their finish notifies, listens
for that, and looks. What no notification tells, a look does: at first after 10 ms, then less and
less often, up to a second; so it works without LISTEN too. Looks are made for all jobs at once.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import select
import threading
import time
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg

from pgqueue import connections, store, wire
from pgqueue.errors import ConnectionFailed
from pgqueue.job import FINAL_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.job import State

CHANNEL: Final = "pgqueue_finished"
"""The payload is the id of a job that has ended, and that somebody waits for."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
GROWTH: Final = 4.0
"""Seconds between two looks at a job: at first, from the fifth on, and how they grow in between.

The first is short because a finish that was under way when the wait began does not notify."""
MOST: Final = 1000
"""Jobs in one look."""
RENEW_EVERY: Final = 60.0
EXPIRES_AFTER: Final = 300.0
"""Seconds after which a process that did not say that it lives is taken for gone."""
IDLE: Final = 30.0
"""Seconds without anything to wait for after which the connection is closed."""
FAILED_PAUSE: Final = 0.25
"""Seconds until the next try when the connection was lost."""


_CLOSED: Final = "the app was closed while something waited for a job"


class Ended(NamedTuple):
    """How a job ended, as it stands in the table."""

    id: int
    state: State
    task: str
    result: str | None
    error_type: str | None
    message: str | None
    traceback: str | None


Answer = Future[Ended | None]
"""None: there is no such job."""


def settled(rows: Iterable[tuple[object, ...]], ids: Collection[int]) -> dict[int, Ended | None]:
    """Of the rows of wait_look.sql: the jobs that have ended, and those that do not exist."""
    found = {job.id: job for job in (Ended(*row) for row in rows)}  # type: ignore[arg-type]
    return {
        id_: found.get(id_) for id_ in ids if id_ not in found or found[id_].state in FINAL_STATES
    }


class _Wait:
    """A job that somebody here waits for."""

    __slots__ = ("answers", "look_at", "pause")

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.look_at = 0.0
        self.pause = FIRST_PAUSE

    def looked(self, now: float) -> None:
        """It has not ended: look again later."""
        self.look_at = now + self.pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self.pause = min(GROWTH * self.pause, LONGEST_PAUSE)


class Waits:
    """The waits of one process; every method is safe from any thread.

    Args:
        dsn: asked when the thread starts: a connection that can LISTEN, if there is one.
        settings: limits of time, and whether to listen.
    """

    def __init__(self, dsn: Callable[[], str], settings: Settings) -> None:
        self._dsn, self._settings = dsn, settings
        self._lock = threading.Lock()
        self._waits: dict[int, _Wait] = {}
        self._thread: _Watcher | None = None
        self._closed = False

    def watch(self, ids: Iterable[int]) -> dict[int, Answer]:
        """By job, what will be known of it once it has ended; give them back with `forget`.

        Raises:
            ConnectionFailed: closed, by now.
            ConfigError: nothing says where the database is.
        """
        answers = {id_: Answer() for id_ in ids}
        with self._lock:
            if self._closed:
                raise ConnectionFailed(_CLOSED)
            thread = self._thread or _Watcher(self, self._dsn(), self._settings)
            for id_, answer in answers.items():
                self._waits.setdefault(id_, _Wait()).answers.append(answer)
            if self._thread is None:
                self._thread = thread
                thread.start()
            thread.wake()
        return answers

    def forget(self, answers: dict[int, Answer]) -> None:
        """Nobody is interested in these answers any more."""
        with self._lock:
            for id_, answer in answers.items():
                wait = self._waits.get(id_)
                if wait is not None and answer in wait.answers:
                    wait.answers.remove(answer)
                    if not wait.answers:
                        del self._waits[id_]
            if self._thread is not None:
                self._thread.wake()

    def close(self) -> None:
        """End the thread; who waits is told."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        self.fail(ConnectionFailed(_CLOSED))
        if thread is not None:
            thread.end()

    # -- for the thread ----------------------------------------------------------------------

    def heard(self, ids: Iterable[int]) -> None:
        """These jobs have ended, it is said."""
        with self._lock:
            for id_ in ids:
                if (wait := self._waits.get(id_)) is not None:
                    wait.look_at = 0.0

    def again(self) -> None:
        """Something may have been missed: look at all jobs soon."""
        with self._lock:
            for wait in self._waits.values():
                wait.look_at, wait.pause = 0.0, FIRST_PAUSE

    def wanted(self) -> set[int]:
        """The jobs that somebody waits for."""
        with self._lock:
            return set(self._waits)

    def due(self, now: float) -> list[int]:
        """The jobs to look at now, and those that would be due in a moment."""
        soon = now + FIRST_PAUSE / 2
        with self._lock:
            if not any(wait.look_at <= now for wait in self._waits.values()):
                return []
            return [id_ for id_, wait in self._waits.items() if wait.look_at <= soon][:MOST]

    def next_look(self) -> float | None:
        """When the next look is due; None when there is nothing to wait for."""
        with self._lock:
            return min((wait.look_at for wait in self._waits.values()), default=None)

    def looked(self, ids: Iterable[int], ended: dict[int, Ended | None], now: float) -> None:
        """Answer for the jobs that have ended; the others are looked at again."""
        answers: list[tuple[Answer, Ended | None]] = []
        with self._lock:
            for id_ in ids:
                if id_ in ended:
                    wait = self._waits.pop(id_, None)
                    answers += [(answer, ended[id_]) for answer in wait.answers] if wait else []
                elif id_ in self._waits:
                    self._waits[id_].looked(now)
        for answer, what in answers:
            if answer.set_running_or_notify_cancel():
                answer.set_result(what)

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits."""
        with self._lock:
            waits, self._waits = list(self._waits.values()), {}
        for answer in (answer for wait in waits for answer in wait.answers):
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)

    def retire(self, thread: _Watcher) -> bool:
        """Let an idle thread end, unless there is something to wait for after all."""
        with self._lock:
            if self._waits and self._thread is thread:
                return False
            if self._thread is thread:
                self._thread = None
            return True


class _Watcher:
    """The thread: it alone uses the connection."""

    def __init__(self, waits: Waits, dsn: str, settings: Settings) -> None:
        self._waits, self._dsn, self._settings = waits, dsn, settings
        self._id = secrets.randbits(63)
        self._registered: set[int] = set()
        self._said: list[str] = []
        self._connection: Connection | None = None
        self._worked = self._ending = False
        self._renew_at = self._idle_at = 0.0
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)
        for end in (self._ear, self._mouth):
            # Only when nobody can wake it any more: the number may be somebody else's by then.
            weakref.finalize(self, os.close, end).atexit = False
        self._thread = threading.Thread(target=self._run, name="pgqueue-waits", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look whether something has changed; under the lock of `waits`."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._mouth, b"!")

    def end(self) -> None:
        """End, and wait for that; nobody else has this thread any more."""
        self._ending = True
        self.wake()
        self._thread.join(self._settings.connect_timeout)

    def _run(self) -> None:
        self._idle_at = time.monotonic() + IDLE
        while not self._ending and not self._is_idle():
            try:
                self._pause(self._step())
            except (*store.GONE, ConnectionFailed) as error:
                self._lost(error)
                self._pause(FAILED_PAUSE)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                self._waits.fail(error)
        self._leave()

    def _is_idle(self) -> bool:
        if self._waits.next_look() is not None:
            self._idle_at = time.monotonic() + IDLE
        return time.monotonic() >= self._idle_at and self._waits.retire(self)

    def _step(self) -> float:
        """Look at what is due, and say in the table what is waited for; the pause after it."""
        connection = self._connected()
        self._waits.heard(self._notified(connection))
        self._look(self._waits.due(time.monotonic()))
        wanted = self._waits.wanted()
        if done := self._registered - wanted:
            self._write("wait_forget", ids=list(done))
            self._registered -= done
        if new := wanted - self._registered:
            self._write("wait_register", ids=list(new), seconds=EXPIRES_AFTER)
            self._registered |= new
            # What has ended in between did not notify.
            self._look(list(new))
        if time.monotonic() >= self._renew_at:
            self._write("wait_renew", seconds=EXPIRES_AFTER)
            self._renew_at = time.monotonic() + RENEW_EVERY
        self._hear(self._connected())
        return 0.0 if self._said else self._until_next()

    def _until_next(self) -> float:
        next_look = self._waits.next_look()
        if next_look is None:
            return 0.0 if self._registered else IDLE
        return next_look - time.monotonic()

    def _look(self, ids: list[int]) -> None:
        for start in range(0, len(ids), MOST):
            part = ids[start : start + MOST]
            rows = store.run(self._connected(), self._settings, "wait_look", {"ids": part})
            self._waits.looked(part, settled(rows, part), time.monotonic())

    def _write(self, statement: str, **values: object) -> None:
        values["waiter_id"] = self._id
        store.run(self._connected(), self._settings, statement, values)

    def _notified(self, connection: Connection) -> list[int]:
        """The ids that were said; anybody may say anything."""
        self._hear(connection)
        said, self._said = self._said, []
        return [int(text) for text in said if text.isascii() and text.isdigit()]

    def _hear(self, connection: Connection) -> None:
        self._said += [payload for _, payload in wire.notifications(connection)]

    def _connected(self) -> Connection:
        if self._connection is None:
            hold = store.held_limits(self._settings)
            self._connection = connections.connect(self._dsn, self._settings, "waits", hold=hold)
            # Those that come while a statement is under way.
            self._connection.add_notify_handler(lambda note: self._said.append(note.payload))
            if self._settings.listen:
                self._connection.execute(f"listen {CHANNEL}".encode())
            self._worked = True
            self._waits.again()
        return self._connection

    def _lost(self, error: Exception) -> None:
        """The connection failed: at first that is the answer, later it is waited for."""
        if not self._worked:
            self._waits.fail(error)
        if self._connection is not None and self._connection.closed:
            self._connection = None

    def _pause(self, seconds: float) -> None:
        sockets = [(self._ear, select.POLLIN)]
        if self._connection is not None and not self._connection.closed:
            sockets.append((self._connection.fileno(), select.POLLIN))
        if self._ear in wire.wait_for(sockets, seconds):
            with contextlib.suppress(BlockingIOError):
                os.read(self._ear, 4096)

    def _leave(self) -> None:
        with contextlib.suppress(psycopg.Error, ConnectionFailed):
            if self._connection is not None:
                self._write("wait_leave")
        if self._connection is not None:
            self._connection.close()
