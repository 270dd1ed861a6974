"""Two connections to a database with the schema, and what the tests of the statements share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue import connections
from pgqueue.config import Settings
from tests.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.connections import Connection


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def own(dsn: str, settings: Settings) -> Iterator[Connection]:
    """A connection as a worker opens it."""
    with connections.connect(dsn, settings, "test") as connection:
        yield connection


@pytest.fixture
def other(dsn: str, settings: Settings) -> Iterator[Connection]:
    """A second one, of a rival."""
    with connections.connect(dsn, settings, "rival") as connection:
        yield connection


@pytest.fixture
def tables(connection: psycopg.Connection) -> Tables:
    """Rows, made and read on a third connection."""
    return Tables(connection)
