"""Rows of the tables as the tests make and read them, and one statement against another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pgqueue import store
from pgqueue.config import Settings
from pgqueue.store import LaneClaim
from pgqueue.wire import Wire
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import psycopg

    from pgqueue.connections import Connection
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Ephemeral, Succeeded, Unsuccessful

SETTINGS = Settings()
Row = tuple[Any, ...]


class Tables:
    """Makes and reads rows; every call is a transaction of its own."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; none if it returns none."""
        cursor = self.connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def worker(self, name: str = "w", *, silent_for: float = 0) -> int:
        """Register a worker whose last beat was so many seconds ago."""
        values = {
            "name": name,
            "hostname": "h",
            "pid": 1,
            "version": "1",
            "queues": ["default"],
            "concurrency": 1,
            "threads": 1,
            "children": 1,
            "ttl": 12.0,
        }
        with self.connection.transaction():
            row = store.execute(self.connection, "register_worker", values).fetchone()
            assert row is not None
            self.run(
                "update pgqueue.workers set heartbeat_at = heartbeat_at - %s * interval '1 second' "
                "where id = %s",
                silent_for,
                row[0],
            )
        return int(row[0])

    def job(self, state: str = "ready", *, due_for: float = 60, **columns: Any) -> int:
        """Insert a job that has been due for so many seconds; its id."""
        values = {"task": "t", "state": state, **columns}
        if state == "running":
            values = {"lease": 1, "attempt": 1, "started_at": "now", **values}
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        query = (
            f"insert into pgqueue.jobs (run_at, {names}) "
            f"values (clock_timestamp() - %s * interval '1 second', {marks}) returning id"
        )
        return int(self.run(query, due_for, *values.values())[0][0])

    def jobs(self, count: int, state: str = "ready", **columns: Any) -> list[int]:
        """Insert jobs that share one run_at, as one enqueue_many does; their ids."""
        with self.connection.transaction():
            made = [self.job(state, **columns) for _ in range(count)]
            self.run(
                "update pgqueue.jobs set run_at = (select min(run_at) from pgqueue.jobs "
                "where id = any (%s)) where id = any (%s)",
                made,
                made,
            )
        return made

    def row(self, job_id: int) -> dict[str, Any]:
        """A job's row."""
        cursor = self.connection.execute("select * from pgqueue.jobs where id = %s", [job_id])
        found = cursor.fetchone()
        assert found is not None, f"no job {job_id}"
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, found, strict=True))

    def attempts(self, job_id: int) -> list[tuple[Any, ...]]:
        """(lease, attempt, outcome) of a job, by lease."""
        return self.run(
            "select lease, attempt, outcome from pgqueue.attempts where job_id = %s order by lease",
            job_id,
        )

    def age(self, seconds: float) -> None:
        """Let all jobs be so much older."""
        self.run("update pgqueue.jobs set run_at = run_at - %s * interval '1 second'", seconds)

    def lock(self, other: Connection, *ids: int) -> None:
        """Lock jobs in a transaction of a rival that the test ends."""
        other.autocommit = False
        other.execute(
            "select from pgqueue.jobs where id = any (%s) order by id for update", [list(ids)]
        )

    def wait_for_lock(self, what: str) -> None:
        """Wait until some session waits for a lock."""
        query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
        wait_until(lambda: self.run(query, self.connection.info.dbname), what=what)


def claim(
    connection: Connection,
    worker_id: int,
    *lanes: LaneClaim,
    room: int = 100,
    takes: store.Takes = "all",
) -> list[ClaimedJob]:
    """What a claim returns, in the order of the answer."""
    return exchange(connection, worker_id, *lanes, room=room, takes=takes).claimed


def exchange(
    connection: Connection,
    worker_id: int,
    *lanes: LaneClaim,
    room: int = 0,
    succeeded: Sequence[Succeeded] = (),
    unsuccessful: Sequence[Unsuccessful] = (),
    ephemeral: Sequence[Ephemeral] = (),
    suspect_id: int | None = None,
    takes: store.Takes = "all",
    settings: Settings = SETTINGS,
) -> store.ExchangeReply:
    """One exchange; without lanes it looks into the default queue at priority 0."""
    return store.send(
        Wire(connection, patience=20.0),
        settings,
        worker_id=worker_id,
        worker="w",
        succeeded=succeeded,
        unsuccessful=unsuccessful,
        ephemeral=ephemeral,
        lanes=lanes or [lane()],
        room=room,
        suspect_id=suspect_id,
        takes=takes,
    ).receive()


def lane(
    queue: str = "default",
    priority: int = 0,
    *,
    floor: tuple[datetime, int] | None = None,
    cap: int = 100,
) -> LaneClaim:
    """One lane of a claim."""
    return LaneClaim(queue, priority, floor, cap)


def ids(jobs: Sequence[ClaimedJob]) -> list[int]:
    """The ids of claimed jobs."""
    return [job.id for job in jobs]


class Background:
    """A call on a thread of its own; `result` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._value: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error

    def result(self) -> Any:
        """What the call returned."""
        self._thread.join(10)
        assert not self._thread.is_alive(), "it still waits"
        if self._error is not None:
            raise self._error
        return self._value


def look(connection: Connection, queues: Sequence[str] = (), /, **pauses: float) -> list[Row]:
    """Ask as a worker does, for turns with these pauses; (kind, name, priority, id, seconds)."""
    values = {
        "names": list(pauses),
        "pauses": list(pauses.values()),
        "queues": list(queues),
        "echo": False,
    }
    rows = store.run(connection, SETTINGS, "look", values)
    return [(kind, name, priority, id_, seconds) for kind, name, priority, _, id_, seconds in rows]


def turns(connection: Connection, **pauses: float) -> list[str]:
    """The turns that a worker gets that asks for them with these pauses."""
    return sorted(name for kind, name, *_ in look(connection, **pauses) if kind == "turn")


def probe(connection: Connection) -> None:
    """Probe, whoever did so last."""
    store.run(connection, SETTINGS, "add_steps", {"names": ["probe"]})
    look(connection, probe=0.0)
