"""A worker inside the test's process, and the jobs table beside it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.telemetry.events import Events
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import psycopg

    from pgqueue.config import LoopName
    from pgqueue.telemetry.events import Event, Listener
    from pgqueue.worker.messages import Source

QUICK = Settings(
    concurrency=20,
    threads=4,
    poll_interval=0.2,
    heartbeat=0.5,
    ttl=5.0,
    shutdown_timeout=5.0,
)


class Running:
    """A worker on a thread; `code` once it ended."""

    def __init__(
        self,
        app: PgQueue,
        dsn: str,
        settings: Settings,
        queues: list[str],
        source: Source | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.events: list[Event] = []
        self.code: int | None = None
        self.error: BaseException | None = None
        self.worker = Worker(
            app,
            dsn=dsn,
            settings=settings,
            queues=queues,
            emit=Events(self.events.append, *listeners),
            source=source,
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.code = self.worker.run()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def seen(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def stop(self) -> int | None:
        """Stop it, and wait for its end; the exit code."""
        self.worker.stop()
        self.thread.join(20)
        assert not self.thread.is_alive(), "the worker did not stop"
        return self.code


@pytest.fixture
def app() -> PgQueue:
    return PgQueue("dsn given to the worker", settings=QUICK)


@pytest.fixture
def table(connection: psycopg.Connection) -> Table:
    return Table(connection)


@pytest.fixture
def loop() -> LoopName:
    """The event loop of the workers; a module that overrides it runs on each kind."""
    return "asyncio"


@pytest.fixture
def work(app: PgQueue, dsn: str, loop: LoopName) -> Iterator[Callable[..., Running]]:
    """Starts workers of `app`; they are stopped at the end."""
    running: list[Running] = []

    def start(
        *,
        queues: list[str] | None = None,
        dsn: str = dsn,
        source: Source | None = None,
        listeners: Sequence[Listener] = (),
        **settings: Any,
    ) -> Running:
        wanted = replace(QUICK, **{"loop": loop, **settings})
        one = Running(app, dsn, wanted, queues or ["default"], source, listeners)
        running.append(one)
        wait_until(lambda: one.worker.worker_id or one.error, what="the worker is registered")
        return one

    yield start
    for one in running:
        one.stop()
