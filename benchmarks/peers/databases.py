"""A fresh database for each measurement, copied from one with the peer's schema."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.server import Databases


class Templates:
    """Makes databases, and drops all that it made.

    Args:
        server: where; its connection must be a superuser's.
        dsn: of that server.
    """

    def __init__(self, server: Databases, dsn: str) -> None:
        self._server = server
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._templates: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._templates.values():
            self._drop(name)
        self._admin.close()

    @contextlib.contextmanager
    def fresh(self, kind: str, install: Callable[[str], None]) -> Iterator[str]:
        """The DSN of a new database; gone after the block.

        Args:
            kind: what it is copied from: those of one kind have the same schema.
            install: makes that schema in a database, the first time.
        """
        if kind not in self._templates:
            template = self._create("template0")
            self._templates[kind] = template
            install(self._server.dsn(template))
        name = self._create(self._templates[kind])
        try:
            yield self._server.dsn(name)
        finally:
            self._drop(name)

    def _create(self, template: str) -> str:
        name = f"pgqueue_peers_{secrets.token_hex(4)}"
        self._run("create database {} template {}", name, template)
        return name

    def _drop(self, name: str) -> None:
        self._run("drop database if exists {} with (force)", name)

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
