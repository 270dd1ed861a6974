"""Where a demo runs: an embedded server of its own, or a database of the user's."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from psycopg import pq, sql

from pgqueue import connections, migrate, revision
from pgqueue.config import mask_dsn, normalize_dsn
from pgqueue.demo.app import QUEUE, app
from pgqueue.embedded import EmbeddedServer
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.connections import Connection

_MARK: Final = "made by pgqueue demo"
"""The comment on the schema pgqueue_demo; one without it is somebody else's."""
_LOCK: Final = int.from_bytes(b"pgq-demo")
"""The advisory lock that a demo holds on its database."""

_FORGET: Final = """drop schema if exists pgqueue_demo cascade;
delete from pgqueue.attempts
where job_id in (select id from pgqueue.jobs where queue = 'pgqueue_demo');
delete from pgqueue.jobs where queue = 'pgqueue_demo';"""
"""Removes all that demos left in a database, but for the schema pgqueue."""

# Not a view: one would depend on the tables of pgqueue, and stand in a migration's way.
_RECONCILIATION: Final = """
create function pgqueue_demo.reconciliation ()
returns table (number integer, line text, expected bigint, found bigint, holds boolean)
stable language sql as $function$ {} $function$
"""


class Place(Protocol):
    """A server on which demos run, one after the other."""

    keep: bool

    def fresh(self) -> str:
        """The DSN of a database without jobs of an earlier demo."""

    def how_to_end(self) -> str:
        """What removes everything that is left; the empty string when nothing is."""


class Embedded:
    """An embedded server with a temporary data folder; each demo gets a new database.

    Attributes:
        keep: leave it running at the end.
    """

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self._made = 0
        self._folder = Path(tempfile.mkdtemp(prefix="pgqueue-demo-"))
        # Nothing here cuts the power, and processes that are killed lose nothing by it.
        settings = {"fsync": "off"}
        self._server = EmbeddedServer.start(
            self._folder, settings=settings, stop_at_exit=False, quiet=True
        )

    def fresh(self) -> str:
        self._made += 1
        name = f"demo_{self._made}"
        with closing(_connect(self._server.dsn())) as connection:
            if self._made > 1:
                before = sql.Identifier(f"demo_{self._made - 1}")
                connection.execute(sql.SQL("drop database {}").format(before))
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self._server.dsn(name)

    def how_to_end(self) -> str:
        return f"kill -INT {self._server.pid}; sleep 2; rm -rf {shlex.quote(str(self._folder))}"

    def close(self) -> None:
        """Stop the server and remove its data, unless they are to be kept."""
        if not self.keep:
            self._server.close()
            shutil.rmtree(self._folder, ignore_errors=True)


class Given:
    """A database of the user's, in which the demo's own schema is made anew for each demo."""

    keep = True

    def __init__(self, dsn: str, *, force: bool) -> None:
        self._dsn, self._force = normalize_dsn(dsn), force

    def fresh(self) -> str:
        with closing(_connect(self._dsn)) as connection:
            if revision.read(connection) is None:
                return self._dsn
            revision.check(connection)
            query = "select exists (select from pgqueue.jobs where queue <> %s)"
            others = connection.execute(query, [QUEUE]).fetchone() == (True,)
            name = connection.info.dbname
        if others and not self._force:
            raise ConfigError(
                f"database {name!r} holds jobs that are not the demo's: name another with --dsn, "
                f"or run the demo beside them with --force (it writes to its own queue {QUEUE!r} "
                "and its own schema 'pgqueue_demo')"
            )
        return self._dsn

    def how_to_end(self) -> str:
        return f"psql {shlex.quote(mask_dsn(self._dsn))} -c {shlex.quote(_FORGET)}"


@contextmanager
def opened(dsn: str | None, *, keep: bool, force: bool) -> Iterator[Place]:
    """The place for a demo: an embedded server, or the database that a DSN names.

    Raises:
        ConfigError: that database holds jobs of others, and `force` is not set.
        EmbeddedError: the embedded server does not start.
    """
    if dsn is not None:
        yield Given(dsn, force=force)
        return
    with _own_environment(), closing(Embedded(keep=keep)) as embedded:
        yield embedded


@contextmanager
def _own_environment() -> Iterator[None]:
    """Take away libpq's variables for a while: they speak of the user's servers, not of ours."""
    names = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    taken = {name: os.environ.pop(name) for name in names & os.environ.keys()}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def prepared(dsn: str) -> Iterator[Connection]:
    """A connection to a database that is made ready for one demo, and held for it.

    The schema pgqueue is made where it is missing, and pgqueue_demo is made anew.

    Raises:
        ConfigError: another demo runs there, or pgqueue_demo is somebody else's.
        SchemaError: the schema pgqueue is behind or newer.
    """
    with closing(_connect(dsn)) as connection:
        if connection.execute("select pg_try_advisory_lock(%s)", [_LOCK]).fetchone() == (False,):
            raise ConfigError(
                f"another demo runs in database {connection.info.dbname!r}: wait for its end"
            )
        if revision.read(connection) is None:
            migrate.upgrade(dsn)
        revision.check(connection)
        with connection.transaction():
            _start_anew(connection)
        yield connection


def _connect(dsn: str) -> Connection:
    return connections.connect(dsn, app.settings, "demo")


def _start_anew(connection: Connection) -> None:
    """Drop what an earlier demo left, its jobs included, and make the demo's schema."""
    found = connection.execute(
        "select obj_description(oid, 'pg_namespace') from pg_namespace "
        "where nspname = 'pgqueue_demo'"
    ).fetchone()
    if found not in (None, (_MARK,)):
        raise ConfigError(
            f"the schema 'pgqueue_demo' in database {connection.info.dbname!r} was not made by "
            "the demo, which would drop it: rename it, or name another database with --dsn"
        )
    connection.execute(_FORGET)
    connection.execute(_text("tables.sql"))
    connection.execute(_RECONCILIATION.format(_text("reconcile.sql")))


def _text(name: str) -> str:
    return resources.files("pgqueue.demo").joinpath(name).read_text("utf-8")
