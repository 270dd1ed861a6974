"""Which adapter an object needs: found once for each type, then remembered."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue.enqueue.callers import asyncpg, django, pg8000, psycopg2, psycopg3, sqlalchemy
from pgqueue.enqueue.callers.explained import CLOSED
from pgqueue.errors import TransactionUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPTED: Final = (
    "a connection or cursor of psycopg, psycopg2 or pg8000, an asyncpg connection, a SQLAlchemy "
    "Connection, Session, AsyncConnection or AsyncSession, or a Django connection"
)
_NO_TRANSACTION: Final = (
    "An engine, a pool or a session factory has no transaction: take a connection or session of it"
)


class Adapter(NamedTuple):
    """How to enqueue through objects of a type.

    Attributes:
        send: (connection, document, whether a transaction is required) -> the answer, or a
            coroutine of it.
        is_async: whether `send` is a coroutine function.
    """

    send: Callable[[Any, str, bool], Any]
    is_async: bool = False


_ADAPTERS: Final[tuple[tuple[str, str, Adapter], ...]] = (
    ("psycopg", "Connection", Adapter(psycopg3.send)),
    ("psycopg", "AsyncConnection", Adapter(psycopg3.asend, is_async=True)),
    ("sqlalchemy.orm", "Session", Adapter(sqlalchemy.send_session)),
    ("sqlalchemy.orm", "scoped_session", Adapter(sqlalchemy.send_session)),
    ("sqlalchemy", "Connection", Adapter(sqlalchemy.send)),
    ("sqlalchemy.ext.asyncio", "AsyncSession", Adapter(sqlalchemy.asend_session, True)),
    ("sqlalchemy.ext.asyncio", "async_scoped_session", Adapter(sqlalchemy.asend_session, True)),
    ("sqlalchemy.ext.asyncio", "AsyncConnection", Adapter(sqlalchemy.asend, True)),
    ("asyncpg", "Connection", Adapter(asyncpg.asend, is_async=True)),
    ("asyncpg.pool", "PoolConnectionProxy", Adapter(asyncpg.asend, is_async=True)),
    ("django.db.backends.base.base", "BaseDatabaseWrapper", Adapter(django.send)),
    ("django.utils.connection", "ConnectionProxy", Adapter(django.send)),
    ("psycopg2.extensions", "connection", Adapter(psycopg2.send)),
    ("pg8000.dbapi", "Connection", Adapter(pg8000.send)),
    ("pg8000.legacy", "Connection", Adapter(pg8000.send)),
    ("pg8000.native", "Connection", Adapter(pg8000.send_native)),
)
_HOLDERS: Final[tuple[tuple[str, str, str], ...]] = (
    ("psycopg", "Cursor", "connection"),
    ("psycopg", "AsyncCursor", "connection"),
    ("psycopg2.extensions", "cursor", "connection"),
    ("pg8000.dbapi", "Cursor", "_c"),  # its `connection` warns that it is an extension
    ("pg8000.legacy", "Cursor", "_c"),
    # Of an async engine this leads to no connection that is known, and must not: see sqlalchemy.
    ("sqlalchemy.pool", "PoolProxiedConnection", "dbapi_connection"),
)
"""Objects that are no connection, and the attribute that leads to theirs."""

_of_type: Final[dict[type, Adapter]] = {}


def find(caller: Any) -> tuple[Adapter | None, Any]:
    """The adapter of an object, and the connection that it leads to; no adapter for a stranger.

    Raises:
        TransactionUnusable: what it led to is closed.
    """
    adapter = _of_type.get(type(caller)) or _classified(caller)
    return (adapter, caller) if adapter is not None else _held(caller)


def unsuitable(called: str, caller: Any, adapter: Adapter | None) -> str:
    """Why `called` ("enqueue" or "aenqueue") cannot take this caller, and what to do."""
    name = f"an object of {type(caller).__module__}.{type(caller).__qualname__}"
    if adapter is None:
        return f"cannot enqueue through {name}; expected {ACCEPTED}. {_NO_TRANSACTION}"
    if called == "enqueue":
        return f"enqueue() got {name}, which is asynchronous: use `await ...aenqueue(...)`"
    words = f"aenqueue() got {name}, which is synchronous: use `enqueue(...)`"
    if adapter.send is django.send:
        words += ", from async code in one sync_to_async(...) function with its atomic()"
    return words


def _classified(caller: Any) -> Adapter | None:
    for module, name, adapter in _ADAPTERS:
        known = _loaded(module, name)
        if isinstance(caller, known):
            # A proxy, as tracing tools make them, only says that it is one: its type may wrap
            # anything, and is not remembered.
            if issubclass(type(caller), known):
                _of_type[type(caller)] = adapter
            return adapter
    return None


def _held(caller: Any) -> tuple[Adapter | None, Any]:
    for module, name, attribute in _HOLDERS:
        if isinstance(caller, _loaded(module, name)):
            connection = getattr(caller, attribute)
            if connection is None:
                raise TransactionUnusable(CLOSED)
            return find(connection)
    return None, caller


def _loaded(module: str, name: str) -> Any:
    """The class of a driver; before the driver is imported nothing can be of it."""
    return getattr(sys.modules.get(module), name, ())
