"""SQLAlchemy: connections and ORM sessions, over any driver for PostgreSQL.

Asked through `connection()` after a flush, never through `driver_connection`: the asyncpg dialect
begins at its first own statement, so a job enqueued past it would survive `rollback()`.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pgqueue.enqueue.callers.explained import CLOSED, explained, not_in_transaction, only
from pgqueue.errors import TransactionUnusable

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

_SQL: Final = "select pgqueue.enqueue(cast(:jobs as text))"
_OPTIONS: Final = {"stream_results": False, "yield_per": None}
"""The host may have turned on server-side cursors for all that it reads."""

_ADVICE: Final = "take one whose isolation level is not AUTOCOMMIT"


def send(conn: Connection, document: str, required: bool) -> str:
    """Through a Connection."""
    _check_connection(conn, required)
    with explained:
        given = {"jobs": document}
        return only(conn.execute(_statement(), given, execution_options=_OPTIONS).one())


async def asend(conn: AsyncConnection, document: str, required: bool) -> str:
    """Through an AsyncConnection."""
    _check_connection(conn, required)
    with explained:
        given = {"jobs": document}
        return only((await conn.execute(_statement(), given, execution_options=_OPTIONS)).one())


def send_session(session: Session, document: str, required: bool) -> str:
    """Through a Session or scoped_session, after what it holds."""
    _check_session(session)
    if required:  # before the flush, which is SQL
        _refuse_autocommit(session.connection())
    session.flush()
    return send(session.connection(), document, required=False)


async def asend_session(session: AsyncSession, document: str, required: bool) -> str:
    """Through an AsyncSession or async_scoped_session, after what it holds."""
    _check_session(session)
    if required:
        _refuse_autocommit(await session.connection())
    await session.flush()
    return await asend(await session.connection(), document, required=False)


@cache
def _statement() -> Any:
    return sys.modules["sqlalchemy"].text(_SQL)


def _check_connection(conn: Connection | AsyncConnection, required: bool) -> None:
    if conn.closed:
        raise TransactionUnusable(CLOSED)
    if (vendor := conn.dialect.name) != "postgresql":
        raise TypeError(f"cannot enqueue through a connection to {vendor}: not PostgreSQL")
    if required:
        _refuse_autocommit(conn)


def _check_session(session: Session | AsyncSession) -> None:
    if not session.is_active:
        raise TransactionUnusable(
            "the session's transaction failed at an earlier flush: session.rollback(), then "
            "repeat the whole transaction"
        )


def _refuse_autocommit(conn: Connection | AsyncConnection) -> None:
    """SQLAlchemy begins by itself, save where each statement is to commit; all drivers say so."""
    pooled = getattr(conn, "sync_connection", conn).connection
    if getattr(pooled.dbapi_connection, "autocommit", False):
        raise not_in_transaction(conn, _ADVICE)
