"""The server that is measured on, and in it a fresh database for each measurement."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgqueue.embedded import EmbeddedServer
from pgqueue.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",  # no checkpoint falls into a round
    "checkpoint_timeout": "30min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}

# The worker that the yardstick claims for, and the jobs, with about 100 bytes of arguments.
WORKER: Final = """
    insert into pgqueue.workers (name, hostname, pid, version, queues, concurrency, threads, ttl)
    values ('yardstick', '', 0, '', '{default}', 1, 1, '1 day')"""
JOBS: Final = """
    insert into pgqueue.jobs (task, args)
    select %s, jsonb_build_object('number', number, 'text', repeat('x', 72))
    from generate_series(1, %s) as number"""


@contextlib.contextmanager
def embedded(bin_dir: Path | None, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The DSN of a server of this run alone, on a disk and with all that makes it durable.

    Args:
        bin_dir: the folder of the server's programs; None takes the wheel's.
        settings: to change.
    """
    settings = {**SETTINGS, **(settings or {})}
    disk = Path("/var/tmp")  # never kept in memory
    folder = Path(tempfile.mkdtemp(prefix="pgqueue-bench-", dir=disk if disk.exists() else None))
    try:
        server = EmbeddedServer.start(folder, bin_dir=bin_dir, settings=settings, quiet=True)
        with server:
            yield server.dsn()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Makes databases with pgqueue's schema on a server, and drops them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._prefix = f"pgqueue_bench_{secrets.token_hex(4)}"
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._template = f"{self._prefix}_template"

    def __enter__(self) -> Self:
        self._run("create database {} template template0", self._template)
        upgrade(self.dsn(self._template))
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(self._template)
        self._admin.close()

    def version(self) -> str:
        """The server's version, and the settings that decide what is measured."""
        settings = self._admin.execute(
            "select name || '=' || current_setting(name) from unnest(%s::text[]) as name",
            [sorted([*SETTINGS, "autovacuum"])],
        )
        version = self._admin.info.parameter_status("server_version")
        return f"PostgreSQL {version}, {', '.join(setting for (setting,) in settings)}"

    @contextlib.contextmanager
    def filled(self, task: str, jobs: int) -> Iterator[str]:
        """The name of a new database with so many jobs in it; gone after the block."""
        name = f"{self._prefix}_{secrets.token_hex(4)}"
        self._run("create database {} template {}", name, self._template)
        try:
            with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                connection.execute(WORKER)
                connection.execute(JOBS, (task, jobs))
                connection.execute("vacuum analyze pgqueue.jobs")
                connection.execute("checkpoint")
            yield name
        finally:
            self._drop(name)

    def commits(self, name: str) -> int:
        """Transactions committed in a database so far, once all its clients are gone."""
        [(commits,)] = self._admin.execute(
            "select xact_commit from pg_stat_database where datname = %s", [name]
        )
        return int(commits)

    def clients(self, name: str) -> int:
        """How many connections a database has."""
        [(clients,)] = self._admin.execute(
            "select count(*) from pg_stat_activity "
            "where datname = %s and backend_type = 'client backend'",
            [name],
        )
        return int(clients)

    def dsn(self, name: str) -> str:
        """The DSN of a database of this server."""
        if "://" in self._dsn:
            return urlsplit(self._dsn)._replace(path=f"/{quote(name)}").geturl()
        options = {**conninfo_to_dict(self._dsn)}
        options.pop("dbname", None)
        return f"postgresql:///{quote(name)}?{urlencode(options, quote_via=quote)}"

    def _drop(self, name: str) -> None:
        self._run("drop database if exists {} with (force)", name)

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
