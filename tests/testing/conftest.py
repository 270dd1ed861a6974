"""One database for all tests of pgqueue.testing that leave nothing behind, as users have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.testing import JobTester
from tests.testing.shop import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests import servers
    from tests.testing.shop import Shop

TABLES = "create table orders (id bigint primary key, paid boolean not null default false)"


@pytest.fixture(scope="session")
def shared_dsn(databases: servers.Databases, template: str) -> Iterator[str]:
    """A database with the schema and a table, whose tests roll back."""
    with databases.fresh(template) as fresh:
        with psycopg.connect(fresh, autocommit=True) as connection:
            connection.execute(TABLES)
        yield fresh


@pytest.fixture
def conn(shared_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection whose transaction is rolled back."""
    connected = psycopg.connect(shared_dsn)
    yield connected
    connected.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An app that has no database: what a test does goes through its connection, or fails."""
    with PgQueue("host=/nowhere") as app:
        yield declare(app)


@pytest.fixture
def jobs(shop: Shop, conn: psycopg.Connection) -> JobTester:
    return JobTester(shop.app, conn)
