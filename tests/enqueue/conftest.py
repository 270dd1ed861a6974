"""A database for a whole module, where tests clean up after themselves or do not mind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.enqueue.hosts import HOSTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests import servers


@pytest.fixture(scope="module")
def shared_dsn(databases: servers.Databases, template: str) -> Iterator[str]:
    """A database that the module's tests share."""
    with databases.fresh(template) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared(shared_dsn: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to it."""
    with psycopg.connect(shared_dsn, autocommit=True) as connected:
        yield connected


@pytest.fixture
def business(shared: psycopg.Connection) -> psycopg.Connection:
    """`shared` with no jobs, and with the caller's own table, which is empty."""
    shared.execute("create table if not exists orders (n int unique)")
    shared.execute("delete from pgqueue.jobs; delete from pgqueue.idempotency_keys")
    shared.execute("delete from orders")
    return shared


@pytest.fixture(params=HOSTS)
def run(
    request: pytest.FixtureRequest, shared_dsn: str, business: psycopg.Connection
) -> Callable[..., Any]:
    """Runs a scenario with each kind of caller."""
    assert business.info.dbname in shared_dsn

    async def main(scenario: Callable[..., Any], autocommit: bool) -> Any:
        async with HOSTS[request.param](shared_dsn, autocommit=autocommit) as host:
            return await scenario(host)

    return lambda scenario, autocommit=False: asyncio.run(main(scenario, autocommit))
