"""Steps and effects in a test: kept through its connection, in its transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgqueue.testing.asking import ask
from pgqueue.worker.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from pgqueue.app import PgQueue
    from pgqueue.testing.async_hosts import AsyncHost
    from pgqueue.testing.hosts import Host

    Rows = list[tuple[Any, ...]]
    Runs = Callable[[str], Rows]
    ARuns = Callable[[str], Coroutine[Any, Any, Rows]]

READS = frozenset({"step_read", "once_read"})


class HostKeeper(Keeper):
    """A worker's Keeper that has a test's connection instead of its own.

    Args:
        app: gives the limit of results, and their codec.
        rows: runs a statement.
        arows: as `rows`, for coroutines.

    Attributes:
        kept: what this attempt has written, to be written again if a savepoint undoes it: in a
            worker each of these is a commit.
    """

    def __init__(self, app: PgQueue, rows: Runs, arows: ARuns) -> None:
        super().__init__("", app.settings, app.codec)
        self._rows, self._arows = rows, arows
        self.kept: list[str] = []

    def _ask(self, name: str, values: Mapping[str, Any]) -> Rows:
        return self._noted(name, (sql := ask(name, **values).sql), self._rows(sql))

    async def _aask(self, name: str, values: Mapping[str, Any]) -> Rows:
        sql = ask(name, **values).sql
        return self._noted(name, sql, await self._arows(sql))

    def _noted(self, name: str, sql: str, rows: Rows) -> Rows:
        if name not in READS:
            self.kept.append(sql)
        return rows


def keeper_of(app: PgQueue, host: Host) -> HostKeeper:
    """For handlers that run on the thread of the test."""
    return HostKeeper(app, host.rows, host.arows)


def async_keeper_of(app: PgQueue, host: AsyncHost) -> HostKeeper:
    """For coroutines on the event loop of the test, and plain handlers in threads beside it."""
    loop = asyncio.get_running_loop()

    def rows(sql: str) -> Rows:
        return asyncio.run_coroutine_threadsafe(host.rows(sql), loop).result()

    return HostKeeper(app, rows, host.rows)
