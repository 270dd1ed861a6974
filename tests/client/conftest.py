from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg


@pytest.fixture
def app(dsn: str) -> Iterator[PgQueue]:
    with PgQueue(dsn) as made:
        yield made


@pytest.fixture
def make_job(connection: psycopg.Connection[Any]) -> Callable[..., int]:
    """Insert a job as it would stand in some state; returns its id."""

    def make(state: str = "ready", **columns: Any) -> int:
        values = {"task": "t", "state": state, **columns}
        if state == "running":
            values.setdefault("worker_id", 1)
        names = ", ".join(values)
        marks = ", ".join(f"%({name})s" for name in values)
        query = f"insert into pgqueue.jobs ({names}) values ({marks}) returning id"
        row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])

    return make


@pytest.fixture
def read(connection: psycopg.Connection[Any]) -> Callable[[int], dict[str, Any]]:
    """The row of a job."""

    def read_job(job_id: int) -> dict[str, Any]:
        cursor = connection.execute("select * from pgqueue.jobs where id = %s", [job_id])
        names = [column.name for column in cursor.description or ()]
        row = cursor.fetchone()
        assert row is not None, f"no job {job_id}"
        return dict(zip(names, row, strict=True))

    return read_job
