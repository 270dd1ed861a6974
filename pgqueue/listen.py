"""One LISTEN connection. A notification is a hint: without any, all works, only later.

It has a connection, and if need be a DSN, of its own: a pooler in transaction mode does not carry
LISTEN. It probes itself, for a connection can be dead without a word; after each reconnect it
listens again and then tells its owner to look once, for what came meanwhile was not heard.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from pgqueue import connections
from pgqueue.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection

QUEUE_PREFIX: Final = "pgqueue."
"""A queue's channel is this and its name; the payload is the priority of the new jobs."""
WORKER_CHANNEL: Final = "pgqueue_worker"
"""The payload is the id of the worker that should look at its running jobs: one is cancelled."""
PROBE_EVERY: Final = 15.0
"""Seconds of silence after which the connection is asked whether it lives."""


class Listener:
    """A step that waits for notifications; it blocks, so it has a thread of its own.

    Args:
        dsn: a direct connection.
        settings: limits of time.
        channels: what to listen to.
        heard: told (channel, payload) of each notification.
        connected: told True once all channels are listened to, False when that ended.
        failed: told of a failure; gives the seconds to wait before the next try.
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
    ) -> None:
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
        if not self._stopping:
            return 0.0
        self._drop()
        os.close(self._ear)
        os.close(self._mouth)
        return None

    def _listen(self) -> None:
        connection = self._connection or self._open()
        if time.monotonic() >= self._probe_at:
            connection.execute("select 1")
            self._probe_at = time.monotonic() + PROBE_EVERY
        # First what has been read already, then the socket: it is silent about the former.
        for notification in connection.notifies(timeout=0):
            self._heard(notification.channel, notification.payload)
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._ear, select.POLLIN)
        poll.poll(max(self._probe_at - time.monotonic(), 0) * 1000)

    def _open(self) -> Connection:
        connection = connections.connect(self._dsn, self._settings, "listen")
        self._connection, self._probe_at = connection, time.monotonic() + PROBE_EVERY
        for channel in self._channels:
            connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        self._connected(True)
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connected(False)
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        """End at once; from any thread, and only once."""
        self._stopping = True
        with contextlib.suppress(OSError):
            os.write(self._mouth, b".")
