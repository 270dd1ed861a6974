"""psycopg and asyncpg: drivers with an interface of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg

from tests.enqueue.hosts.host import AsyncHost, Host, SyncHost, parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.enqueue.hosts.host import Opened


class AsyncpgHost(AsyncHost):
    """asyncpg begins nothing by itself: there is always one transaction() open."""

    transaction: Any

    async def begin(self) -> None:
        self.transaction = self.connection.transaction()
        await self.transaction.start()

    async def commit(self) -> None:
        await self.transaction.commit()
        await self.begin()

    async def rollback(self) -> None:
        await self.transaction.rollback()
        await self.begin()


@asynccontextmanager
async def connection(dsn: str, *, autocommit: bool = False, **options: Any) -> AsyncIterator[Host]:
    with psycopg.connect(dsn, autocommit=autocommit, **options) as caller:
        yield SyncHost(caller)


@asynccontextmanager
async def cursor(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with psycopg.connect(dsn, autocommit=autocommit) as connected, connected.cursor() as caller:
        yield SyncHost(caller, connected)


@asynccontextmanager
async def async_connection(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit) as caller:
        yield AsyncHost(caller)


@asynccontextmanager
async def async_cursor(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    connected = await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit)
    async with connected, connected.cursor() as caller:
        yield AsyncHost(caller, connected)


@asynccontextmanager
async def asyncpg_connection(
    dsn: str, *, autocommit: bool = False, **options: Any
) -> AsyncIterator[Host]:
    caller = await asyncpg.connect(**parameters(dsn), **options)
    host = AsyncpgHost(caller)
    try:
        if not autocommit:
            await host.begin()
        yield host
    finally:
        await caller.close()


@asynccontextmanager
async def asyncpg_pool(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    async with (
        asyncpg.create_pool(**parameters(dsn), min_size=1, max_size=1) as pool,
        pool.acquire() as caller,
    ):
        host = AsyncpgHost(caller)
        if not autocommit:
            await host.begin()
        yield host


HOSTS: dict[str, Opened] = {
    "psycopg Connection": connection,
    "psycopg Cursor": cursor,
    "psycopg AsyncConnection": async_connection,
    "psycopg AsyncCursor": async_cursor,
    "asyncpg Connection": asyncpg_connection,
    "asyncpg PoolConnectionProxy": asyncpg_pool,
}
