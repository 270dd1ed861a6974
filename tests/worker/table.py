"""The jobs table as a test sees it: plain SQL over a connection of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

FINAL = ("succeeded", "dead", "cancelled", "expired")


class Table:
    """Adds jobs and reads what became of them."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def add(self, task: str, *, count: int = 1, **options: Any) -> list[int]:
        """Enqueue `count` jobs of a task by SQL; their ids."""
        document = json.dumps([{"task": task} | options] * count)
        row = self.connection.execute("select pgqueue.enqueue(%s)", [document]).fetchone()
        assert row is not None
        return [answer["id"] for answer in json.loads(row[0])]

    def add_one(self, task: str, **options: Any) -> int:
        [id_] = self.add(task, **options)
        return id_

    def row(self, id_: int) -> dict[str, Any]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute("select * from pgqueue.jobs where id = %s", [id_]).fetchone()
        assert found is not None
        return found

    def state(self, id_: int) -> str:
        return str(self.row(id_)["state"])

    def attempts(self, id_: int) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            query = "select * from pgqueue.attempts where job_id = %s order by lease"
            return cursor.execute(query, [id_]).fetchall()

    def outcomes(self, id_: int) -> list[str]:
        return [attempt["outcome"] for attempt in self.attempts(id_)]

    def count(self, condition: str, *parameters: Any) -> int:
        """How many jobs meet an SQL condition of the test's."""
        query = f"select count(*) from pgqueue.jobs where {condition}"
        row = self.connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])

    def wait(self, ids: int | Iterable[int], *states: str, timeout: float = 15.0) -> None:
        """Wait until all of these jobs are in one of these states."""
        wanted = [ids] if isinstance(ids, int) else list(ids)
        condition = "id = any (%s) and state = any (%s)"
        wait_until(
            lambda: self.count(condition, wanted, list(states)) == len(wanted),
            timeout,
            f"{wanted[:5]} in {states}",
        )

    def wait_final(self, ids: int | Iterable[int], timeout: float = 15.0) -> None:
        self.wait(ids, *FINAL, timeout=timeout)

    def make_due(self, id_: int) -> None:
        """Age a waiting job to where it is due."""
        query = "update pgqueue.jobs set run_at = clock_timestamp() where id = %s"
        self.connection.execute(query, [id_])

    def connected(self, role: str) -> bool:
        """Whether a worker has a connection of this role."""
        return bool(
            self.connection.execute(
                "select from pg_stat_activity "
                "where datname = current_database() and application_name = %s",
                [f"pgqueue:{role}"],
            ).fetchall()
        )
