"""psycopg2 and pg8000: connections and cursors of the DB-API."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pg8000.dbapi
import pg8000.legacy
import pg8000.native
import psycopg2

from tests.enqueue.hosts.host import Host, Parameters, SyncHost, parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

    from tests.enqueue.hosts.host import Opened


class WholeConnection(pg8000.dbapi.Connection):  # type: ignore[misc]  # it has no types
    """Of pg8000, which closes its socket, and leaves what it writes through to the collector.

    Where the connection was cut, that has something left to send: from Python 3.13 on it is
    reported that it cannot, in the midst of another test.
    """

    def close(self) -> None:
        stream = self._sock
        try:
            super().close()
        finally:
            with suppress(OSError, ValueError):
                stream.close()


class NativeHost(SyncHost):
    """pg8000.native, which begins when it is told to."""

    async def execute(self, sql: str) -> None:
        self.caller.run(sql)

    async def commit(self) -> None:
        self.caller.run("commit")
        self.caller.run("begin")

    async def rollback(self) -> None:
        self.caller.run("rollback")
        self.caller.run("begin")


def pg8000_parameters(dsn: str) -> Parameters:
    options = parameters(dsn)
    if str(options.get("host", "")).startswith("/"):
        options["unix_sock"] = f"{options.pop('host')}/.s.PGSQL.{options.get('port', 5432)}"
    if "port" in options:
        options["port"] = int(options["port"])
    return options


@contextmanager
def connected(driver: ModuleType, dsn: str, *, autocommit: bool) -> Iterator[Any]:
    options = parameters(dsn) if driver is psycopg2 else pg8000_parameters(dsn)
    with closing(driver.connect(**options)) as connection:
        connection.autocommit = autocommit
        yield connection


@asynccontextmanager
async def connection(
    driver: ModuleType, dsn: str, *, autocommit: bool = False
) -> AsyncIterator[Host]:
    with connected(driver, dsn, autocommit=autocommit) as caller:
        yield SyncHost(caller)


@asynccontextmanager
async def cursor(driver: ModuleType, dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with connected(driver, dsn, autocommit=autocommit) as connection:
        yield SyncHost(connection.cursor(), connection)


@asynccontextmanager
async def pg8000_native(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Host]:
    with closing(pg8000.native.Connection(**pg8000_parameters(dsn))) as caller:
        if not autocommit:
            caller.run("begin")
        yield NativeHost(caller)


HOSTS: dict[str, Opened] = {
    "psycopg2 connection": partial(connection, psycopg2),
    "psycopg2 cursor": partial(cursor, psycopg2),
    "pg8000 Connection": partial(connection, pg8000.dbapi),
    "pg8000 Cursor": partial(cursor, pg8000.dbapi),
    "pg8000 legacy Connection": partial(connection, pg8000.legacy),
    "pg8000 legacy Cursor": partial(cursor, pg8000.legacy),
    "pg8000 native Connection": pg8000_native,
}
