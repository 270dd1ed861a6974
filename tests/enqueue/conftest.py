"""A database for a whole module, where tests clean up after themselves or do not mind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests import servers


@pytest.fixture(scope="module")
def shared(databases: servers.Databases, template: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to a database that the module's tests share."""
    with (
        databases.fresh(template) as fresh,
        psycopg.connect(fresh, autocommit=True) as connected,
    ):
        yield connected
