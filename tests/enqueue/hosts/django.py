"""Django: from async code, because the tests are; each step is one sync_to_async."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django import setup
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.transaction import atomic, set_rollback
from django.utils.connection import ConnectionProxy

from pgqueue.enqueue import callers
from tests.enqueue.hosts.host import Host, parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.enqueue.hosts.host import Opened

ALIAS = "pgqueue_host"


class DjangoHost:
    """A connection in atomic(); commit and rollback end one block and enter the next."""

    block: Any

    def __init__(self, caller: Any) -> None:
        self.caller = caller

    def begin(self) -> None:
        self.block = atomic(ALIAS)
        self.block.__enter__()

    def end(self) -> None:
        self.block.__exit__(None, None, None)

    async def enqueue(self, document: str, *, require_transaction: bool = False) -> str:
        send = partial(callers.send, require_transaction=require_transaction)
        answer: str = await sync_to_async(send)(self.caller, document)
        return answer

    async def execute(self, sql: str) -> None:
        def run() -> None:
            with self.caller.cursor() as cursor:
                cursor.execute(sql)

        await sync_to_async(run)()

    async def commit(self) -> None:
        await sync_to_async(self.end)()
        await sync_to_async(self.begin)()

    async def rollback(self) -> None:
        await sync_to_async(set_rollback)(True, ALIAS)
        await self.commit()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        block = atomic(ALIAS)
        await sync_to_async(block.__enter__)()
        try:
            yield
        except BaseException as error:
            await sync_to_async(block.__exit__)(type(error), error, error.__traceback__)
            raise
        await sync_to_async(block.__exit__)(None, None, None)


def declare(alias: str, dsn: str, **options: Any) -> None:
    """Make a database known under an alias, whatever settings this process may have."""
    if not settings.configured:
        settings.configure(LOGGING_CONFIG=None)
    if not apps.ready:
        setup()
    names = {"database": "NAME"}
    given = {names.get(name, name.upper()): value for name, value in parameters(dsn).items()}
    database = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options, **given}
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: database})[
        alias
    ]


def connect(dsn: str, *, autocommit: bool, proxy: bool) -> DjangoHost:
    declare(ALIAS, dsn)
    host = DjangoHost(ConnectionProxy(connections, ALIAS) if proxy else connections[ALIAS])
    if not autocommit:
        host.begin()
    return host


def close(alias: str = ALIAS) -> None:
    connections[alias].close()
    del connections[alias]


@asynccontextmanager
async def django_connection(
    dsn: str, *, autocommit: bool = False, proxy: bool = False
) -> AsyncIterator[Host]:
    host = await sync_to_async(connect)(dsn, autocommit=autocommit, proxy=proxy)
    try:
        yield host
    finally:
        await sync_to_async(close)()


HOSTS: dict[str, Opened] = {
    "Django connection": partial(django_connection, proxy=True),
    "Django connections[...]": django_connection,
}
"""`django.db.connection` is a ConnectionProxy, and `connections["other"]` is what it leads to."""
