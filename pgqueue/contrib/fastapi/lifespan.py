"""A worker inside the server's process, for development: it starts and stops with the server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from pgqueue.errors import PgQueueError
from pgqueue.telemetry import events, wording
from pgqueue.telemetry.events import Events
from pgqueue.worker.worker import FENCED, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from pgqueue.app import PgQueue
    from pgqueue.config import Settings
    from pgqueue.telemetry.events import Event

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

log: Final = logging.getLogger("pgqueue.worker")

SHUTDOWN_TIMEOUT: Final = 5.0
PAUSE: Final = 1.0
"""Seconds between two tries of a worker that the database does not let start again."""


def worker(
    app: PgQueue,
    *,
    queues: Sequence[str] = ("default",),
    lifespan: Lifespan | None = None,
    settings: Settings | None = None,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan that runs a worker in the server's process, as `FastAPI(lifespan=worker(app))`.

    For development. In production run `pgqueue worker`, whose heartbeats come from another process:
    here, a call that keeps the interpreter's lock for longer than the time-to-live lets the worker
    look dead, and a job that crashes takes the server with it. Each process of a server has a
    worker of its own; that is warned of.

    Args:
        app: gives the tasks and the database.
        queues: what to work.
        lifespan: your own; entered before the worker starts, left after it stopped, so that
            handlers find what it opens. Its state is passed on.
        settings: of the worker; by default the app's, with a shutdown timeout of at most 5 s, as
            a server that reloads must not wait.

    Raises:
        ConnectionFailed, SchemaError: at the server's start, which they end.
    """
    chosen = settings or _patient(app.settings)

    @asynccontextmanager
    async def run(server: Any) -> AsyncIterator[dict[str, Any]]:
        async with lifespan(server) if lifespan else nullcontext() as state:
            background = Background(app, queues, chosen)
            try:
                await asyncio.wrap_future(background.start())
                await asyncio.to_thread(_warn_of_siblings, app)
                yield dict(state or {})
            finally:
                await asyncio.to_thread(background.stop)

    return run


def _patient(settings: Settings) -> Settings:
    shorter = min(settings.shutdown_timeout, SHUTDOWN_TIMEOUT)
    return dataclasses.replace(settings, shutdown_timeout=shorter)


class Background:
    """A worker on a thread of its own, started anew when it was fenced.

    Args:
        app: gives the tasks and the database.
        queues: what to work.
        settings: limits and pauses.
    """

    def __init__(self, app: PgQueue, queues: Sequence[str], settings: Settings) -> None:
        self._app, self._queues, self._settings = app, queues, settings
        self._started: Future[None] = Future()
        self._stopping = threading.Event()
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._run, name="pgqueue-worker", daemon=True)

    def start(self) -> Future[None]:
        """Start it; done when it is registered, with the error if it cannot be."""
        self._thread.start()
        return self._started

    def stop(self) -> None:
        """Stop it as SIGTERM would, and wait for its end: at most the shutdown timeout and 10 s."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.stop()
        self._thread.join(self._settings.shutdown_timeout + 10)

    def _run(self) -> None:
        try:
            while self._work() and not self._stopping.wait(PAUSE):
                pass
        except BaseException as error:
            if self._started.done():
                log.exception("the worker in this server has ended")
            else:
                self._started.set_exception(error)

    def _work(self) -> bool:
        """Run a worker to its end; whether another one is needed."""
        try:
            self._worker = Worker(
                self._app,
                dsn=self._app.dsn,
                settings=self._settings,
                queues=self._queues,
                emit=Events(wording.write, self._seen),
            )
            if self._stopping.is_set():
                return False
            return self._worker.run() == FENCED
        except PgQueueError as error:
            if not self._started.done():
                raise
            log.warning("the worker in this server cannot start again yet: %s", error)
            return True

    def _seen(self, event: Event) -> None:
        if isinstance(event, events.WorkerStarted) and not self._started.done():
            self._started.set_result(None)


def _warn_of_siblings(app: PgQueue) -> None:
    """Say so when other processes of this server run a worker too: each registers before."""
    others = [
        other.pid
        for other in app.inspector.status().workers
        if other.alive and other.hostname == socket.gethostname() and _is_sibling(other.pid)
    ]
    if others:
        log.warning(
            "%d processes of this server run a worker each (%s and this one): "
            "pgqueue.contrib.fastapi.worker is for development with one process; "
            "in production run `pgqueue worker`",
            len(others) + 1,
            ", ".join(map(str, others)),
        )


def _is_sibling(pid: int) -> bool:
    """Whether a process is another one of our server: servers keep theirs in one group."""
    try:
        return pid != os.getpid() and os.getpgid(pid) == os.getpgid(0)
    except (ProcessLookupError, PermissionError):
        return False
