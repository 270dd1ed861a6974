"""The transaction of a migration: the lock it starts with, and its errors in plain words.

SQLAlchemy is imported by the functions that use it; see pgqueue.migrate.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors

from pgqueue import connections
from pgqueue.config import Settings
from pgqueue.errors import ConfigError, PgQueueError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from pgqueue.connections import Connection

LOCK: Final = int.from_bytes(b"pgqueue")
"""The advisory lock that a migration holds until its end: 31638934390142309."""

SETTINGS: Final = Settings(prepare=False)
OLDEST_SERVER: Final = 140_000
LOCK_TIMEOUT_MIN: Final = 0.001
LOCK_TIMEOUT_MAX: Final = 3600.0

_HOLDERS: Final = """
select pid, string_agg(distinct coalesce(relation::regclass::text, 'the migration lock'), ', '),
    max(state), date_trunc('second', clock_timestamp() - max(xact_start))::text
from pg_locks join pg_stat_activity using (pid)
where granted and pid <> pg_backend_pid()
    and pg_locks.database = (select oid from pg_database where datname = current_database())
    and (relation in (select oid from pg_class
                      where relnamespace = to_regnamespace('pgqueue') and relkind = 'r')
        or locktype = 'advisory' and objsubid = 1
        and (classid::bigint << 32) | objid::bigint = %s)
group by pid order by max(xact_start) limit 5
"""


def connect(dsn: str, *, autocommit: bool = True) -> Connection:
    """Open a connection for migrations; errors as for `connections.connect`."""
    # A migration may take hours, and no statement of it has a limit.
    return connections.connect(dsn, SETTINGS, "migrate", autocommit=autocommit, patient=False)


@contextmanager
def transaction(
    dsn: str, lock_timeout: float
) -> Iterator[tuple[sqlalchemy.Connection, Connection]]:
    """One transaction that holds the migration lock, as SQLAlchemy and as psycopg see it.

    Args:
        dsn: as libpq reads it.
        lock_timeout: longest wait for each lock, in seconds.

    Raises:
        ConfigError: `lock_timeout` or the DSN cannot work.
        ConnectionFailed: the database does not answer.
        SchemaError: what the block ran failed; the message says why. Nothing was changed.
    """
    from sqlalchemy import StaticPool, create_engine  # noqa: PLC0415 - see the module's docstring

    milliseconds = _milliseconds(lock_timeout)
    with closing(connect(dsn, autocommit=False)) as connection:
        _require_server(connection.info.server_version)
        # Above READ COMMITTED, who waited for the lock would still see the time before.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        # A creator, not a URL: SQLAlchemy never parses the DSN, so any DSN of libpq works.
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
        )
        with _explained(connection, dsn, lock_timeout), engine.begin() as begun:
            _take_lock(connection, milliseconds)
            yield begun, connection


def _take_lock(connection: Connection, milliseconds: int) -> None:
    # A statement_timeout of the role would cut a long migration short.
    connection.execute(
        "select set_config('lock_timeout', %s, true), set_config('statement_timeout', '0', true)",
        [str(milliseconds)],
    )
    connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])


@contextmanager
def _explained(connection: Connection, dsn: str, lock_timeout: float) -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see the module's docstring

    try:
        yield
    except psycopg.Error as error:
        raise _explain(error, connection, dsn, lock_timeout) from error
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise _explain(error.orig, connection, dsn, lock_timeout) from error


def _explain(
    error: psycopg.Error, connection: Connection, dsn: str, lock_timeout: float
) -> PgQueueError:
    if connection.broken or connection.closed:
        return connections.connection_failed(dsn, error)
    reason = error.diag.message_primary or str(error)
    info = connection.info
    match error:
        case errors.LockNotAvailable():
            problem = _blocked(connection, lock_timeout)
        case errors.DependentObjectsStillExist():
            details = "; ".join((error.diag.message_detail or "").splitlines())
            problem = (
                f"{reason} ({details}): pgqueue drops only what it created, so move or drop "
                "those objects first"
            )
        case errors.InsufficientPrivilege():
            problem = (
                f"role {info.user!r} may not do it ({reason}): migrate as the database's owner, "
                "or give a DBA the output of pgqueue migrate --sql"
            )
        case _:
            problem = reason
    return SchemaError(
        f"the migration of database {info.dbname!r} failed, and nothing was changed: {problem}"
    )


def _blocked(connection: Connection, lock_timeout: float) -> str:
    connection.rollback()
    rows = connection.execute(_HOLDERS, [LOCK]).fetchall()
    holders = "; ".join(
        f"pid {pid} holds {what} ({state or 'state hidden from this role'}, for {age})"
        for pid, what, state, age in rows
    )
    return (
        f"no lock within {lock_timeout:g} s: {holders or 'who held it has ended since'}. Run it "
        "again when they have ended, end them with pg_terminate_backend(pid), or raise lock_timeout"
    )


def _milliseconds(lock_timeout: float) -> int:
    # 0 would be no limit at all to PostgreSQL.
    is_number = type(lock_timeout) in {int, float}
    if not is_number or not LOCK_TIMEOUT_MIN <= lock_timeout <= LOCK_TIMEOUT_MAX:
        raise ConfigError(
            f"lock_timeout={lock_timeout!r}: expected seconds from {LOCK_TIMEOUT_MIN:g} to "
            f"{LOCK_TIMEOUT_MAX:g}"
        )
    return int(lock_timeout * 1000)


def _require_server(version: int) -> None:
    if version < OLDEST_SERVER:
        raise SchemaError(
            f"the server is PostgreSQL {version // 10_000}; pgqueue needs 14 or newer: upgrade it"
        )
