"""Which executors a worker needs, and how it comes to them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pgqueue.errors import ConfigError
from pgqueue.worker.executors.event_loop import EventLoopExecutor
from pgqueue.worker.executors.loops import loop_factory
from pgqueue.worker.executors.processes import ProcessExecutor
from pgqueue.worker.executors.threads import ThreadExecutor
from pgqueue.worker.messages import ChildOrder
from pgqueue.worker.transactions import AsyncTransactions, Transactions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.config import Settings
    from pgqueue.options import ExecutorName
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.board import Board
    from pgqueue.worker.messages import Source
    from pgqueue.worker.parts import Executor, Outbox
    from pgqueue.worker.stuck import Stuck


class Crew:
    """Makes the executors of one worker.

    Args:
        app: gives the tasks.
        dsn: for transactional handlers, and for child processes.
        settings: limits.
        source: how a child process loads the app.

    Raises:
        ConfigError: a task needs child processes, and nobody said how they load the app; or an
            event loop that is not installed.
    """

    def __init__(self, app: PgQueue, dsn: str, settings: Settings, source: Source | None) -> None:
        self._app, self._dsn, self._settings = app, dsn, settings
        self._order = self._child_order(source)
        self._names = {task.executor for task in app.tasks.values()} or {"thread"}
        self._make_loop = loop_factory(settings.loop if "async" in self._names else "asyncio")

    def executors(
        self,
        outbox: Outbox,
        board: Board,
        stuck: Stuck,
        emit: Events,
        failed: Callable[[BaseException], None],
    ) -> dict[ExecutorName, Executor]:
        """The executors that the app's tasks need, by name.

        A transactional handler that is stuck keeps its connection, so there are as many more.
        `failed` is told by one of them that it cannot go on.
        """
        settings = self._settings
        made: dict[ExecutorName, Executor] = {}
        if "async" in self._names:
            size = settings.concurrency + settings.most_stuck
            loops = AsyncTransactions(self._dsn, settings, size)
            made["async"] = EventLoopExecutor(
                outbox,
                board,
                settings,
                loops,
                stuck=stuck,
                emit=emit,
                failed=failed,
                loop=self._make_loop(),
            )
        if "thread" in self._names:
            threads = Transactions(self._dsn, settings, settings.threads + settings.most_stuck)
            made["thread"] = ThreadExecutor(outbox, board, settings, threads, stuck, failed=failed)
        if self._order is not None:
            made["process"] = ProcessExecutor(
                outbox, board, settings, self._order, emit, failed=failed
            )
        return made

    def _child_order(self, source: Source | None) -> ChildOrder | None:
        names = [task.name for task in self._app.tasks.values() if task.executor == "process"]
        if not names:
            return None
        if source is None:
            raise ConfigError(
                f"{names[0]} has executor='process', and this worker does not know how a child "
                "process loads the app: use `pgqueue worker`, or pass source=Source(app, app_dir)"
            )
        return ChildOrder(source, self._dsn, dataclasses.asdict(self._settings))
