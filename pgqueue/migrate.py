"""Bring the pgqueue schema of a database up or down, or write the SQL that does.

Each run is one transaction at READ COMMITTED. It starts with an advisory lock, so of two that run
at once the second waits, then finds nothing left to do; and it waits for no lock longer than
`lock_timeout`, so that a long transaction on a table of ours never makes the queue stand behind
the migration. The transaction commits whole or leaves everything as it was.

Alembic and SQLAlchemy are imported by the functions that use them: the command line imports this
module, and a worker started from there pays for neither.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pgqueue import revision
from pgqueue._version import __version__
from pgqueue.connections import limited
from pgqueue.errors import ConfigError, SchemaError
from pgqueue.migrate_transaction import LOCK, SETTINGS, connect, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

State = Literal["missing", "behind", "current", "newer"]
Direction = Literal["upgrade", "downgrade"]

BASE: Final = "base"
DEFAULT_LOCK_TIMEOUT: Final = 10.0

_PACKAGE: Final = Path(__file__).parent
_CREATE_SCHEMA: Final = (
    "do $$ begin if to_regnamespace('pgqueue') is null then create schema pgqueue; end if; end $$"
)
# Plain drops: anything that pgqueue did not create stops them.
_DROP_SCHEMA: Final = ("drop table if exists pgqueue.alembic_version", "drop schema pgqueue")

# Alembic keeps what it runs in module globals: one run at a time in a process.
_alembic_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where a database stands.

    Attributes:
        state: missing (not installed), behind, current, or newer than this version knows.
        current: the database's revision; None when missing.
        head: the newest revision that this version has.
        pending: revision and title of what `upgrade` would run, oldest first.
    """

    state: State
    current: str | None
    head: str
    pending: list[tuple[str, str]]


def upgrade(dsn: str, *, to: str = "head", lock_timeout: float = DEFAULT_LOCK_TIMEOUT) -> bool:
    """Bring the schema up to a revision; a database that is there already stays as it is.

    Args:
        dsn: as libpq reads it; the empty string takes the PG* variables.
        to: a revision such as "0001", or "head".
        lock_timeout: longest wait for each lock, in seconds.

    Returns:
        Whether it changed anything; of many at once only one does.

    Raises:
        ConfigError: `to`, `lock_timeout` or the DSN cannot work.
        ConnectionFailed: the database does not answer.
        SchemaError: a lock is not to be had, the role may not, the schema is newer than this
            version or the server older than PostgreSQL 14. Nothing was changed.
    """
    target = _known(to, "to")
    with transaction(dsn, lock_timeout) as (begun, connection):
        current = revision.read(connection)
        _refuse_unknown(current, connection.info.dbname)
        behind = current is None or current < target
        if behind:
            _alembic("upgrade", target, begun)
    return behind


def downgrade(dsn: str, to: str, *, lock_timeout: float = DEFAULT_LOCK_TIMEOUT) -> None:
    """Bring the schema down to a revision, or with "base" remove it and every job.

    Objects that pgqueue did not create are never dropped: they stop the downgrade.

    Args and errors as for `upgrade`; also SchemaError when somebody else's objects are in the way,
    or when the database is below `to`.
    """
    target = to if to == BASE else _known(to, "to")
    with transaction(dsn, lock_timeout) as (begun, connection):
        current = revision.read(connection)
        _refuse_unknown(current, connection.info.dbname)
        if current is None and target == BASE:
            return
        if current is None or (target != BASE and current < target):
            raise SchemaError(_cannot_go_down(current, target, connection.info.dbname))
        if current != target:
            _alembic("downgrade", target, begun)


def sql(*, to: str = "head", from_: str = BASE) -> str:
    """The SQL of a migration, for somebody else to run: no connection is made.

    It is one transaction, takes the same locks as `upgrade`, and refuses a database that is not
    at `from_`. Where `to` is below `from_` it is a downgrade.

    Args:
        to: a revision, "head", or "base".
        from_: the revision that the database is at; "base" for one without pgqueue.

    Raises:
        ConfigError: a revision that does not exist.
    """
    start = from_ if from_ == BASE else _known(from_, "from_")
    end = to if to == BASE else _known(to, "to")
    if start == end:
        return f"-- pgqueue {__version__}: the schema is at {end} already, nothing to run.\n"
    downward = end == BASE or (start != BASE and end < start)
    script = _alembic("downgrade" if downward else "upgrade", f"{start}:{end}", None)
    return (
        f"-- pgqueue {__version__}: the schema from {start} to {end}, in one transaction.\n"
        f"-- Run it with: psql -v ON_ERROR_STOP=1 -f FILE\n\n{script}"
    )


def status(dsn: str) -> MigrationStatus:
    """Where a database stands; reads only.

    Raises:
        ConfigError: the DSN cannot be parsed.
        ConnectionFailed: the database does not answer.
        SchemaError: the version table cannot be read.
    """
    with closing(connect(dsn)) as connection, limited(connection, SETTINGS):
        current = revision.read(connection)
    known = revisions()
    head = max(known)
    pending = [(name, title) for name, title in known.items() if current is None or name > current]
    return MigrationStatus(_state(current, head), current, head, pending)


def revisions() -> dict[str, str]:
    """The revisions that this version has, oldest first, each with its title."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's docstring

    scripts = list(ScriptDirectory(str(folder())).walk_revisions())
    return {script.revision: script.doc for script in reversed(scripts)}


def folder() -> Path:
    """Where the migrations are: in the installed package, or beside it in a checkout.

    Raises:
        SchemaError: in neither place; the installation is incomplete.
    """
    places = _PACKAGE / "_migrations", _PACKAGE.parent / "migrations"
    for place in places:
        if (place / "versions" / "0001_first.py").is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    raise SchemaError(f"pgqueue's migrations are in neither {looked}: install pgqueue again")


def _known(name: str, argument: str) -> str:
    known = revisions()
    if name == "head":
        return max(known)
    if name not in known:
        raise ConfigError(f"{argument}={name!r}: no such revision; known are {', '.join(known)}")
    return name


def _state(current: str | None, head: str) -> State:
    if current is None:
        return "missing"
    if current == head:
        return "current"
    return "behind" if current < head else "newer"


def _refuse_unknown(current: str | None, database: str) -> None:
    known = revisions()
    if current is not None and current not in known:
        raise SchemaError(
            f"database {database!r} is at revision {current!r}, which this pgqueue {__version__} "
            f"does not have (it has {', '.join(known)}): migrate with the version that has it"
        )


def _cannot_go_down(current: str | None, target: str, database: str) -> str:
    if current is None:
        return revision.explain(None, database)
    return f"cannot go down to {target!r}: database {database!r} is at {current!r}, below it"


def _alembic(
    direction: Direction, destination: str, connection: sqlalchemy.Connection | None
) -> str:
    """Run Alembic on a connection; without one, return the SQL that it would run."""
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.config import Config  # noqa: PLC0415 - see the module's docstring

    output = StringIO()
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["before"] = _before(direction, destination, offline=connection is None)
    config.attributes["after"] = _DROP_SCHEMA if destination.endswith(BASE) else ()
    with _alembic_lock, _quiet():
        _refuse_nesting()
        getattr(command, direction)(config, destination, sql=connection is None)
    return output.getvalue()


def _refuse_nesting() -> None:
    """Alembic inside Alembic would end with the outer run broken and ours committed."""
    from alembic import context  # noqa: PLC0415 - see the module's docstring

    if hasattr(context, "config"):  # there is one only during a run
        raise SchemaError(
            "another Alembic run is under way in this process, and Alembic runs one at a time: "
            "call pgqueue.migrate before or after it, not in a migration or env.py of your own"
        )


def _before(direction: Direction, destination: str, *, offline: bool) -> list[str]:
    create = [_CREATE_SCHEMA] if direction == "upgrade" else []
    if not offline:
        return create
    start = destination.partition(":")[0]
    return [
        f"set local lock_timeout = '{DEFAULT_LOCK_TIMEOUT:g}s'",
        f"select pg_advisory_xact_lock({LOCK})",
        *([] if start == BASE else [_check_start(start)]),
        *create,
    ]


def _check_start(start: str) -> str:
    return (
        "do $$ begin if (select max(version_num) from pgqueue.alembic_version) "  # noqa: S608 - one of ours
        f"is distinct from '{start}' then raise exception "
        f"'this script is for a pgqueue schema at revision {start}'; end if; end $$"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Alembic's progress lines out of the host's log; its warnings pass."""
    logger = logging.getLogger("alembic.runtime.migration")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
