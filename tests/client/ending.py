"""Ends jobs as workers, operators and the steps of maintenance do: by the statements they run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgqueue import store
from pgqueue.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Connection = psycopg.Connection[Any]

SETTINGS = Settings()


def succeed(connection: Connection, job_id: int, result: str = "null", lease: int = 0) -> None:
    """End a job of this lease as a worker's exchange does."""
    values = {
        "ids": f"{{{job_id}}}",
        "leases": f"{{{lease}}}",
        "results": f'{{"{job_id}": {result}}}',
    }
    [(ended, _)] = store.run(connection, SETTINGS, "finish_succeeded", values)
    assert ended == job_id


def succeed_waiting(connection: Connection, job_id: int) -> None:
    values = {"ids": f"{{{job_id}}}", "leases": "{0}", "results": None}
    assert store.run(connection, SETTINGS, "finish_succeeded_waiting", values)


def succeed_transactional(connection: Connection, job_id: int) -> None:
    values = {"id": job_id, "lease": 0, "result": None}
    with connection.transaction():
        assert store.execute(connection, "finish_transactional", values).fetchall()


def bury(connection: Connection, job_id: int, state: str = "dead") -> None:
    """End a job without success, as a worker's exchange does."""
    outcome = {
        "id": job_id,
        "lease": 0,
        "state": state,
        "delay": 0,
        "refund": 0,
        "outcome": state,
        "error_type": "ValueError",
        "message": "no such photo",
        "traceback": "Traceback of it",
    }
    values = {"outcomes": json.dumps([outcome]), "worker": "w"}
    assert store.run(connection, SETTINGS, "finish_unsuccessful", values)


def crash(connection: Connection, job_id: int) -> None:
    connection.execute("update pgqueue.jobs set crash_count = 2 where id = %s", [job_id])
    values = {
        "worker_id": 1,
        "worker": "w",
        "started": [job_id],
        "culprit": job_id,
        "intended": False,
        "crash_cap": 3,
    }
    assert store.run(connection, SETTINGS, "rescue", values)


def expire(connection: Connection, job_id: int) -> None:
    connection.execute(
        "update pgqueue.jobs set state = 'ready', expires_at = '2024-01-01' where id = %s", [job_id]
    )
    assert store.run(connection, SETTINGS, "expire")


def cancel(connection: Connection, job_id: int) -> None:
    assert store.run(connection, SETTINGS, "operator_cancel", {"ids": [job_id]})


ENDINGS: dict[str, tuple[Callable[[Connection, int], None], str]] = {
    "finish_succeeded": (succeed, "succeeded"),
    "finish_succeeded_waiting": (succeed_waiting, "succeeded"),
    "finish_transactional": (succeed_transactional, "succeeded"),
    "finish_unsuccessful": (bury, "dead"),
    "rescue": (crash, "dead"),
    "expire": (expire, "expired"),
    "operator_cancel": (cancel, "cancelled"),
}
"""By statement: what runs it on a running job, and the state that it leaves."""
