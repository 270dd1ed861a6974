"""What the acceptance tests ask of a caller."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from psycopg.conninfo import conninfo_to_dict

from pgqueue.enqueue import callers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


class Host(Protocol):
    """A caller, and what its program does besides to enqueue."""

    caller: Any

    async def enqueue(self, document: str, *, require_transaction: bool = False) -> str: ...
    async def execute(self, sql: str) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...
    def savepoint(self) -> AbstractAsyncContextManager[Any]: ...


class Opened(Protocol):
    """Opens a host."""

    def __call__(self, dsn: str, *, autocommit: bool = ...) -> AbstractAsyncContextManager[Host]:
        """A connection to the database, closed after the block without a commit."""


class SyncHost:
    """A caller with a plain connection; the caller may be something that leads to it."""

    def __init__(self, caller: Any, connection: Any = None) -> None:
        self.caller = caller
        self.connection = caller if connection is None else connection

    async def enqueue(self, document: str, *, require_transaction: bool = False) -> str:
        return callers.send(self.caller, document, require_transaction=require_transaction)

    async def execute(self, sql: str) -> None:
        self.connection.cursor().execute(sql)

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        await self.execute("savepoint host")
        try:
            yield
        except BaseException:
            await self.execute("rollback to savepoint host")
            raise
        await self.execute("release savepoint host")


class AsyncHost:
    """As SyncHost, for a connection that is awaited."""

    def __init__(self, caller: Any, connection: Any = None) -> None:
        self.caller = caller
        self.connection = caller if connection is None else connection

    async def enqueue(self, document: str, *, require_transaction: bool = False) -> str:
        return await callers.asend(self.caller, document, require_transaction=require_transaction)

    async def execute(self, sql: str) -> None:
        await self.connection.execute(sql)

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()

    def savepoint(self) -> Any:
        return self.connection.transaction()


Parameters: TypeAlias = dict[str, Any]


def parameters(dsn: str) -> Parameters:
    """host, port, user, database and password, as most drivers name them."""
    options: Parameters = {**conninfo_to_dict(dsn)}
    options["database"] = options.pop("dbname")
    return {name: value for name, value in options.items() if value is not None}
