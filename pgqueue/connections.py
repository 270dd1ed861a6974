"""pgqueue's own connections: how they are opened, and the limits that every call on them has.

Limits are set once where the session is ours alone, and else by each transaction: see `session`.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import ConnectionPool

from pgqueue import session
from pgqueue.config import mask_dsn, normalize_dsn
from pgqueue.errors import ConfigError, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgqueue.config import Settings

Connection = psycopg.Connection[TupleRow]

PATIENCE: Final = 5.0
"""Seconds beyond the statement timeout after which no answer is waited for."""

LIMITS = (
    "select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true), "
    "set_config('idle_in_transaction_session_timeout', %s, true)"
)


def parameters(dsn: str, settings: Settings, role: str) -> dict[str, Any]:
    """What libpq needs to open one of our connections.

    A host that vanishes without a word is noticed within about 20 s (keepalives) when idle and
    20 s (tcp_user_timeout) when data is on its way.

    Raises:
        ConfigError: the DSN cannot be parsed, or is of another database system.
    """
    try:
        given = conninfo.conninfo_to_dict(normalize_dsn(dsn))
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"the DSN {mask_dsn(dsn)!r} cannot be read: {_reason(error)}") from None
    ours: dict[str, Any] = {
        "application_name": f"pgqueue:{role}",
        "client_encoding": "utf8",  # else a role's or SQL_ASCII's: names and errors hold anything
        "connect_timeout": max(int(settings.connect_timeout), 1),
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "target_session_attrs": "read-write",
    }
    return ours | {name: value for name, value in given.items() if value is not None}


def _reason(error: psycopg.Error) -> str:
    """Why libpq cannot read a DSN, without the words it quotes: they may be of a password."""
    reason = " ".join(str(error).split())
    return reason if "connection option" in reason else re.sub('".*"', "***", reason)


def connect(
    dsn: str,
    settings: Settings,
    role: str,
    *,
    autocommit: bool = True,
    hold: Mapping[str, str] | None = None,
    patient: bool = True,
) -> Connection:
    """Open a connection of our own.

    Args:
        dsn: as libpq reads it; the empty string takes the PG* variables.
        settings: gives the time limit, and whether statements may be prepared.
        role: becomes `application_name`, as `pgqueue:ROLE`.
        autocommit: psycopg's switch.
        hold: limits for the whole session, where it is ours alone; needs autocommit.
        patient: give it up when it does not answer in PATIENCE beyond the statement timeout, which
            every statement on it must have.

    Raises:
        ConnectionFailed: the server does not answer within the limit, or refuses.
        ConfigError: the DSN cannot be parsed.
    """
    try:
        own = session.Patient if patient else session.Own
        connection = own.connect(
            **parameters(dsn, settings, role), autocommit=autocommit, row_factory=tuple_row
        )
        _configure(connection, settings, hold)
    except psycopg.OperationalError as error:
        raise connection_failed(dsn, error) from None
    return connection


def patience(settings: Settings) -> float:
    """Seconds without an answer after which a connection is given up."""
    return settings.statement_timeout + PATIENCE


def connection_failed(dsn: str, error: BaseException) -> ConnectionFailed:
    """The error to show when the database does not answer: where, and why, in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    where = mask_dsn(dsn) or "the database of the PG* variables"
    return ConnectionFailed(f"cannot connect to {where}: {mask_dsn(reason)}")


def open_pool(
    dsn: str,
    settings: Settings,
    role: str,
    *,
    size: int,
    hold: Mapping[str, str] | None = None,
    patient: bool = False,
) -> ConnectionPool[Connection]:
    """A pool of connections; it fills in the background, without blocking.

    Args:
        dsn: as of `connect`.
        settings: as of `connect`.
        role: as of `connect`.
        size: connections at most.
        hold: as of `connect`.
        patient: give up those that do not answer, as `connect` does.
    """
    pool: ConnectionPool[Connection] = ConnectionPool(
        connection_class=session.Patient if patient else session.Own,
        kwargs=parameters(dsn, settings, role) | {"autocommit": True, "row_factory": tuple_row},
        min_size=0,
        max_size=size,
        timeout=settings.connect_timeout,
        max_idle=60.0,
        open=False,
        name=f"pgqueue:{role}",
        check=ConnectionPool.check_connection,
        configure=partial(_configure, settings=settings, hold=hold),
    )
    pool.open(wait=False)
    return pool


def _configure(connection: session.Own, settings: Settings, hold: Mapping[str, str] | None) -> None:
    if not settings.prepare:
        connection.prepare_threshold = None
    # Whatever the database's default is: each statement must see what it has waited for.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    try:
        if isinstance(connection, session.Patient):
            connection.patience = patience(settings)
            session.read_times(connection)
        if hold is not None:
            session.hold(connection, hold)
    except BaseException:
        connection.close()
        raise


@contextmanager
def limited(
    connection: Connection, settings: Settings, *, idle: float | None = None
) -> Iterator[Connection]:
    """A transaction on one of our own connections, in which every statement has a time limit.

    Args:
        connection: in autocommit mode.
        settings: give the limits.
        idle: seconds that may pass between two statements; None allows what a statement may take.
    """
    wanted = bounds(settings, idle)
    with connection.transaction():
        if not session.held(connection, wanted):
            connection.execute(LIMITS, [*wanted.values()])
        yield connection


def bounds(settings: Settings, idle: float | None = None) -> dict[str, str]:
    """The limits of a transaction by name, in milliseconds as PostgreSQL reads them.

    Args:
        settings: give the limits.
        idle: as of `limited`.
    """
    statement = settings.statement_timeout
    seconds = {
        "statement_timeout": statement,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": statement if idle is None else idle,
    }
    return {name: f"{int(limit * 1000)}" for name, limit in seconds.items()}


def limits(settings: Settings) -> tuple[str, ...]:
    """The parameters of LIMITS."""
    return tuple(bounds(settings).values())
