"""One LISTEN connection. A notification is a hint: without any, all works, only later.

It has a connection, and if need be a DSN, of its own: a pooler in transaction mode does not carry
LISTEN. It probes itself, for a connection can be dead without a word; after each reconnect it
listens again and then tells its owner to look once, for what came meanwhile was not heard.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from pgqueue import connections, wire
from pgqueue.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection

QUEUE_PREFIX: Final = "pgqueue."
"""A queue's channel is this and its name; the payload is the priority of the new jobs."""
WORKER_CHANNEL: Final = "pgqueue_worker"
"""The payload is the id of the worker that should look at its running jobs: one is cancelled."""
PROBE_EVERY: Final = 20.0
"""Seconds of silence after which the connection is asked whether it lives."""


class Listener:
    """A step that connects, listens, and waits for notifications; it blocks, on its own thread.

    Where `lent`, it does not wait for notifications itself: another thread waits for
    `descriptor()` beside its own sockets and calls `hear()`. That saves the way from thread to
    thread: 0.2 of the 1.3 ms from a commit to its handler.

    Args:
        dsn: a direct connection.
        settings: limits of time.
        channels: what to listen to.
        heard: told (channel, payload) of each notification.
        connected: told True once all channels are listened to, False when that ended.
        failed: told of a failure; gives the seconds to wait before the next try.
        lent: another thread hears.
    """

    def __init__(
        self,
        dsn: str,
        settings: Settings,
        channels: Sequence[str],
        *,
        heard: Callable[[str, str], None],
        connected: Callable[[bool], None],
        failed: Callable[[Exception], float],
        lent: bool = False,
    ) -> None:
        self._lent = lent
        self._using = threading.Lock()
        self._broken: psycopg.Error | None = None
        self._descriptor: int | None = None
        self._dsn, self._settings, self._channels = dsn, settings, tuple(channels)
        self._heard, self._connected, self._failed = heard, connected, failed
        self._connection: Connection | None = None
        self._stopping = False
        self._probe_at = 0.0
        self._ear, self._mouth = os.pipe()

    def step(self) -> float | None:
        """Listen until there is something to do; None when it was closed."""
        try:
            if not self._stopping:
                self._listen()
        except (psycopg.Error, ConnectionFailed) as error:
            self._drop()
            if not self._stopping:
                return self._failed(error)
        except BaseException:
            self._drop()
            raise
        if not self._stopping:
            return 0.0
        self._drop()
        os.close(self._ear)
        os.close(self._mouth)
        return None

    def descriptor(self) -> int | None:
        """What to wait for before `hear()`; None while it is not connected."""
        return self._descriptor

    def hear(self) -> None:
        """Pass on what has come; never blocks. For the thread that this listener is lent to."""
        if not self._using.acquire(blocking=False):
            return  # it is being probed or dropped: then that reads
        try:
            self._read()
        except psycopg.Error as error:
            self._descriptor, self._broken = None, error
            self._rouse()
        finally:
            self._using.release()

    def _listen(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._connection is None:
            self._open()
        with self._using:
            if time.monotonic() >= self._probe_at and self._connection is not None:
                self._connection.execute("select 1")
                self._probe_at = time.monotonic() + PROBE_EVERY
            # First what has been read already, then the socket: it is silent about the former.
            self._read()
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if not self._lent and self._connection is not None:
            poll.register(self._connection, select.POLLIN)
        if any(
            fd == self._ear for fd, _ in poll.poll(max(self._probe_at - time.monotonic(), 0) * 1000)
        ):
            os.read(self._ear, 16)

    def _read(self) -> None:
        if self._connection is not None:
            for channel, payload in wire.notifications(self._connection):
                self._heard(channel, payload)

    def _open(self) -> None:
        connection = connections.connect(self._dsn, self._settings, "listen", hold={})
        # Those that come while a statement is under way.
        connection.add_notify_handler(lambda heard: self._heard(heard.channel, heard.payload))
        for channel in self._channels:
            connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        self._connection, self._probe_at = connection, time.monotonic() + PROBE_EVERY
        self._descriptor = connection.fileno()
        self._connected(True)

    def _drop(self) -> None:
        with self._using:
            connection, self._connection = self._connection, None
            self._descriptor = self._broken = None
        if connection is not None:
            self._connected(False)
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._mouth, b".")

    def close(self) -> None:
        """End at once; from any thread, and only once."""
        self._stopping = True
        self._rouse()
