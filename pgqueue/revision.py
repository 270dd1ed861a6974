"""Which revisions of the schema this version works on. Cheap to import: no Alembic, no ORM."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from pgqueue._version import __version__
from pgqueue.errors import SchemaError

HEAD: Final = "0001"
"""The newest revision in migrations/; ids are numbers of four digits, so they sort as text."""

SUPPORTED: Final[frozenset[str]] = frozenset({HEAD})
"""Revisions that this version's workers run on: a deploy may migrate first, or last."""


def check(connection: psycopg.Connection[Any]) -> None:
    """Refuse to work on a schema that this version does not support.

    Args:
        connection: any connection to the database; in an open transaction, it reads in that.

    Raises:
        SchemaError: the schema is missing, behind, or newer; the message says what to do.
    """
    current = read(connection)
    if current not in SUPPORTED:
        raise SchemaError(explain(current, connection.info.dbname))


def read(connection: psycopg.Connection[Any]) -> str | None:
    """The revision that the database is at; None when pgqueue is not installed there.

    Raises:
        SchemaError: the role may not read it, or a migration holds it.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        try:
            found = cursor.execute("select to_regclass('pgqueue.alembic_version')").fetchone()
            if found == (None,):
                return None
            row = cursor.execute("select max(version_num) from pgqueue.alembic_version").fetchone()
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaError(_unreadable(connection.info)) from error
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
            raise SchemaError(
                f"pgqueue.alembic_version in database {connection.info.dbname!r} is locked: a "
                "migration runs now, try again when it has ended"
            ) from error
    return row[0] if row else None


def explain(current: str | None, database: str) -> str:
    """Why a database at `current` is not supported, and what to do about it."""
    where = f"the pgqueue schema in database {database!r}"
    if current is None:
        return f"the pgqueue schema is missing in database {database!r}: run pgqueue migrate"
    if current > HEAD:
        return (
            f"{where} is at revision {current!r}, newer than this pgqueue {__version__} supports "
            f"({', '.join(sorted(SUPPORTED))}): upgrade pgqueue in this process"
        )
    return (
        f"{where} is at revision {current!r}, behind what this pgqueue {__version__} needs "
        f"({', '.join(sorted(SUPPORTED))}): run pgqueue migrate"
    )


def _unreadable(info: psycopg.ConnectionInfo) -> str:
    return (
        f"role {info.user!r} may not read pgqueue.alembic_version in database {info.dbname!r}: "
        "pgqueue migrate grants prints what each kind of role needs"
    )
