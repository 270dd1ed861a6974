"""Fixtures: real servers, and for each test a database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue.errors import EmbeddedError
from tests import memory, servers
from tests.contrib.django.project import describe as describe_django

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.embedded import EmbeddedServer


def pytest_report_header() -> list[str]:
    return [servers.describe(), describe_django(), memory.describe()]


@pytest.fixture(scope="session")
def server() -> Iterator[servers.Server]:
    """The server of the ordinary tests; PGQUEUE_TEST_DSN names another."""
    with servers.ordinary_server() as running:
        yield running


@pytest.fixture(scope="session")
def databases(server: servers.Server) -> Iterator[servers.Databases]:
    """Makes databases on the server."""
    made = servers.Databases(server)
    yield made
    made.close()


@pytest.fixture(scope="session")
def template(databases: servers.Databases) -> str:
    """The name of a database with the schema of this version, to be copied."""
    return databases.template


@pytest.fixture
def dsn(databases: servers.Databases, template: str) -> Iterator[str]:
    """A new database with the schema."""
    with databases.fresh(template) as fresh:
        yield fresh


@pytest.fixture
def empty_dsn(databases: servers.Databases) -> Iterator[str]:
    """A new database with nothing in it."""
    with databases.fresh() as fresh:
        yield fresh


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `dsn`."""
    with psycopg.connect(dsn, autocommit=True) as connected:
        yield connected


@pytest.fixture(scope="session")
def own_server_started() -> Iterator[EmbeddedServer]:
    with servers.started_server() as started:
        yield started


@pytest.fixture(scope="session")
def own_databases(own_server_started: EmbeddedServer) -> servers.Databases:
    return servers.Databases(own_server_started)


@pytest.fixture
def own_server(own_server_started: EmbeddedServer) -> EmbeddedServer:
    """A server that the test may stop, restart and kill; it runs when the test starts."""
    try:
        _ = own_server_started.pid
    except EmbeddedError:
        own_server_started.restart()
    return own_server_started


@pytest.fixture
def own_dsn(own_server: EmbeddedServer, own_databases: servers.Databases) -> str:
    """A new database with the schema, on the server that the test owns."""
    return own_server.dsn(own_databases.create(own_databases.template))
