"""Which host a test's connection needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from pgqueue.enqueue.callers import django, kinds, psycopg2, psycopg3, sqlalchemy
from pgqueue.testing.hosts import (
    AlchemyHost,
    DjangoHost,
    Host,
    OwnHost,
    Psycopg2Host,
    PsycopgHost,
    SessionHost,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue

_HOSTS: Final[dict[Any, Callable[[Any], Host]]] = {
    psycopg3.send: PsycopgHost,
    psycopg2.send: Psycopg2Host,
    sqlalchemy.send: AlchemyHost,
    sqlalchemy.send_session: SessionHost,
    django.send: DjangoHost,
}


def is_django(app: PgQueue, connection: Any) -> bool:
    """Whether it is Django's, of which each thread has its own."""
    if connection is None:
        return getattr(app.producer(None), "alias", None) is not None
    adapter, _ = kinds.find(connection)
    return adapter is not None and adapter.send is django.send


def host_of(app: PgQueue, connection: Any) -> Host:
    """The host of a connection; without one, of Django's where the app is Django's, or the app's.

    Raises:
        TypeError: it is asynchronous, or of a kind that cannot be used here.
    """
    if connection is None:
        alias = getattr(app.producer(None), "alias", None)
        if alias is None:
            return OwnHost(app)
        connection = sys.modules["django.db"].connections[alias]
    adapter, found = kinds.find(connection)
    if adapter is not None and adapter.send in _HOSTS:
        return _HOSTS[adapter.send](found)
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    if adapter is not None and adapter.is_async:
        raise TypeError(
            f"{name} is asynchronous: use the asynchronous form, such as `await jobs.adrain()`"
        )
    raise TypeError(
        f"pgqueue.testing cannot use {name}: expected a connection of psycopg, psycopg2, asyncpg, "
        "SQLAlchemy (a Connection or Session, sync or async) or Django, or None"
    )
