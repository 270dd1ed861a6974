"""What became of jobs that ended without a handler is read, also after an outage."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgqueue.errors import ConnectionFailed
from pgqueue.telemetry.events import DatabaseBack, DatabaseLost, Events
from pgqueue.worker.endings import Endings
from pgqueue.worker.link import Link
from tests.waiting import wait_until
from tests.worker.conftest import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.telemetry.events import Event
    from tests.worker.table import Table


@pytest.fixture
def locked_out(dsn: str, connection: psycopg.Connection) -> Iterator[tuple[str, sql.Identifier]]:
    """A role that may not log in yet, and the database as it would be reached by it."""
    name = f"late_{conninfo_to_dict(dsn)['dbname']}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("create role {} superuser nologin").format(role))
    yield make_conninfo(dsn, user=name), role
    connection.execute(sql.SQL("drop role {}").format(role))


def test_it_is_tried_again_until_the_database_answers(
    locked_out: tuple[str, sql.Identifier], table: Table
) -> None:
    dsn, role = locked_out
    seen: list[Event] = []
    read = Endings(Link("hooks", dsn, QUICK, Events(seen.append)), QUICK, lambda: False)
    id_ = table.add_one("t")
    table.connection.execute("update pgqueue.jobs set state = 'dead', finished_at = now()")
    rows: list[tuple[object, ...]] = []
    reader = threading.Thread(target=lambda: rows.extend(read([id_])))
    reader.start()
    wait_until(lambda: any(isinstance(event, DatabaseLost) for event in seen))
    table.connection.execute(sql.SQL("alter role {} login").format(role))
    reader.join(20)
    assert [row[:4] for row in rows] == [("dead", id_, "t", "default")]
    assert isinstance(seen[-1], DatabaseBack)


def test_a_worker_that_ends_does_not_wait_for_the_database(
    locked_out: tuple[str, sql.Identifier],
) -> None:
    link = Link("hooks", locked_out[0], QUICK, Events())
    with pytest.raises(ConnectionFailed):
        Endings(link, QUICK, lambda: True)([1])
