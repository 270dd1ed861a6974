"""Whose transaction: one small adapter for each kind of connection that a caller may have.

Each sends the document through the caller's own connection and its open transaction, and does
nothing else there: no savepoint, commit or SET. SQLAlchemy is asked through `connection()` after a
flush, never through `driver_connection`: its asyncpg dialect begins at its first own statement, so
a job enqueued past it would survive `rollback()`. Nothing here imports SQLAlchemy: if the caller
has an object of it, it is loaded.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.errors import (
    AlreadyEnqueued,
    EnqueueError,
    InvalidJob,
    PgQueueError,
    QueueFull,
    SchemaError,
    TransactionUnusable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    SyncCaller: TypeAlias = psycopg.Connection[Any] | Connection | Session | scoped_session[Session]
    AsyncCaller: TypeAlias = (
        psycopg.AsyncConnection[Any]
        | AsyncConnection
        | AsyncSession
        | async_scoped_session[AsyncSession]
    )
    Caller: TypeAlias = SyncCaller | AsyncCaller
else:
    SyncCaller = AsyncCaller = Caller = Any

ACCEPTED: Final = (
    "psycopg Connection or AsyncConnection, SQLAlchemy Connection, Session, AsyncConnection or "
    "AsyncSession"
)

_PSYCOPG: Final = "select pgqueue.enqueue(%s::text)"
_SQLALCHEMY: Final = "select pgqueue.enqueue(cast(:jobs as text))"


def send(conn: Any, document: str) -> str:
    """Enqueue the document's jobs in the transaction of a synchronous caller.

    Args:
        conn: psycopg Connection, SQLAlchemy Connection, Session or scoped_session.
        document: from `contract.encode` or `contract.encode_many`.

    Returns:
        The answer, for `contract.decode` or `contract.decode_many`.

    Raises:
        TypeError: `conn` is asynchronous, or no connection at all.
        TransactionUnusable: the transaction is aborted or read-only, or the connection closed.
        InvalidJob: the database refused the document; the transaction is aborted now.
        SchemaError: pgqueue's schema is missing or behind.
        EnqueueError: the role may not enqueue.
    """
    adapter = _adapter(_SYNC, conn)
    if adapter is None:
        raise TypeError(_unsuitable("enqueue", conn, _adapter(_ASYNC, conn) is not None))
    return str(adapter(conn, document))


async def asend(conn: Any, document: str) -> str:
    """As `send`, for psycopg AsyncConnection, SQLAlchemy AsyncConnection or AsyncSession."""
    adapter = _adapter(_ASYNC, conn)
    if adapter is None:
        raise TypeError(_unsuitable("aenqueue", conn, _adapter(_SYNC, conn) is not None))
    return str(await adapter(conn, document))


def _send_psycopg(conn: psycopg.Connection[Any], document: str) -> str:
    _check_psycopg(conn)
    # A plain cursor: the host's factories may build rows, or read placeholders, in any way.
    with _explained():
        cursor = psycopg.Cursor(conn, row_factory=tuple_row)
        return _only(cursor.execute(_PSYCOPG, (document,)).fetchone())


async def _asend_psycopg(conn: psycopg.AsyncConnection[Any], document: str) -> str:
    _check_psycopg(conn)
    with _explained():
        cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
        return _only(await (await cursor.execute(_PSYCOPG, (document,))).fetchone())


def _send_connection(conn: Connection, document: str) -> str:
    _check_connection(conn)
    with _explained():
        return _only(conn.execute(_text(), {"jobs": document}).fetchone())


async def _asend_connection(conn: AsyncConnection, document: str) -> str:
    _check_connection(conn)
    with _explained():
        return _only((await conn.execute(_text(), {"jobs": document})).fetchone())


def _send_session(session: Session, document: str) -> str:
    _check_session(session)
    session.flush()
    return _send_connection(session.connection(), document)


async def _asend_session(session: AsyncSession, document: str) -> str:
    _check_session(session)
    await session.flush()
    return await _asend_connection(await session.connection(), document)


_SYNC: Final[tuple[tuple[str, str, Callable[..., str]], ...]] = (
    ("psycopg", "Connection", _send_psycopg),
    ("sqlalchemy.orm", "Session", _send_session),
    ("sqlalchemy.orm", "scoped_session", _send_session),
    ("sqlalchemy", "Connection", _send_connection),
)
_ASYNC: Final[tuple[tuple[str, str, Callable[..., Awaitable[str]]], ...]] = (
    ("psycopg", "AsyncConnection", _asend_psycopg),
    ("sqlalchemy.ext.asyncio", "AsyncSession", _asend_session),
    ("sqlalchemy.ext.asyncio", "async_scoped_session", _asend_session),
    ("sqlalchemy.ext.asyncio", "AsyncConnection", _asend_connection),
)


def _adapter(adapters: tuple[tuple[str, str, Any], ...], conn: Any) -> Any:
    for module, name, adapter in adapters:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(conn, getattr(loaded, name, ())):
            return adapter
    return None


def _unsuitable(called: str, conn: Any, of_other_kind: bool) -> str:
    name = f"{type(conn).__module__}.{type(conn).__qualname__}"
    if not of_other_kind:
        return f"cannot enqueue through a {name}; expected {ACCEPTED}, with its transaction open"
    if called == "enqueue":
        return f"enqueue() got a {name}, which is asynchronous: use `await ...aenqueue(...)`"
    return f"aenqueue() got a {name}, which is synchronous: use `enqueue(...)`"


@cache
def _text() -> Any:
    return sys.modules["sqlalchemy"].text(_SQLALCHEMY)


def _only(row: Any) -> str:
    return str(row[0])


def _check_psycopg(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    if conn.closed:
        raise TransactionUnusable("the connection is closed: enqueue through an open one")
    if conn.info.transaction_status == TransactionStatus.INERROR:
        raise TransactionUnusable(_ABORTED)


def _check_connection(conn: Connection | AsyncConnection) -> None:
    if conn.closed:
        raise TransactionUnusable("the connection is closed: enqueue through an open one")


def _check_session(session: Session | AsyncSession) -> None:
    if not session.is_active:
        raise TransactionUnusable(
            "the session's transaction failed at an earlier flush: session.rollback(), then "
            "repeat the whole transaction"
        )


_ABORTED: Final = (
    "the transaction is aborted by an earlier error: roll back (to a savepoint, or all), then "
    "repeat what was lost"
)
_MISSING: Final = (
    "pgqueue's schema is missing or behind in this database: run `pgqueue migrate` ({message})"
)
_EXPLANATIONS: Final[dict[str, tuple[type[PgQueueError], str]]] = {
    "PQ001": (InvalidJob, "{message}"),
    "PQ002": (EnqueueError, "{message}"),
    "PQ003": (QueueFull, "{message}"),
    "PQ004": (AlreadyEnqueued, "{message}"),
    "25P02": (TransactionUnusable, _ABORTED),
    "25006": (
        TransactionUnusable,
        "the transaction is read-only: enqueue in one that may write, not on a standby",
    ),
    "3F000": (SchemaError, _MISSING),
    "42P01": (SchemaError, _MISSING),
    "42703": (SchemaError, _MISSING),
    "42883": (SchemaError, _MISSING),
    "42501": (
        EnqueueError,
        "this role may not enqueue ({message}): grant it what docs/enqueue.md lists",
    ),
}
_UNUSABLE: Final = ("PendingRollbackError", "ResourceClosedError")
"""SQLAlchemy's own, raised before any SQL."""


@contextmanager
def _explained() -> Iterator[None]:
    """What the caller can do something about becomes an error of ours; the rest passes."""
    try:
        yield
    except Exception as error:
        ours = _explanation(error)
        if ours is None:
            raise
        raise ours from error


def _explanation(error: Exception) -> PgQueueError | None:
    if type(error).__name__ in _UNUSABLE:
        return TransactionUnusable(f"roll back, then repeat the whole transaction: {error}")
    driver_error = getattr(error, "orig", None) or error
    state = getattr(driver_error, "sqlstate", None) or getattr(driver_error, "pgcode", None)
    if state not in _EXPLANATIONS:
        return None
    kind, words = _EXPLANATIONS[state]
    return kind(words.format(message=_message(driver_error)))


def _message(driver_error: Any) -> str:
    """The server's own words, without the context that drivers add."""
    text = str(driver_error).splitlines()[0]
    # The asyncpg dialect of SQLAlchemy 2.0 puts "<class '...'>: " in front.
    return text.partition(">: ")[2] if text.startswith("<class ") else text
