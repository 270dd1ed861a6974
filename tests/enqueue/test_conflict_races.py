"""An enqueue that meets the holder of its key while others claim, change or end it: each forced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel

from pgqueue import store
from pgqueue.enqueue import callers
from tests.enqueue.sql import count, enqueue, row_of
from tests.enqueue.test_key_races import LIMITED, connection, first, second, waiting
from tests.store.tables import Tables, lane

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["connection", "first", "second"]

KEYED = {"task": "t", "key": "k"}
REPLACE = KEYED | {"args": {"new": True}, "on_conflict": "replace"}
LATER = KEYED | {"args": {"new": True}, "on_conflict": "reschedule", "delay": 3600}
STARTED = KEYED | {"until": "started"}
AGE = "update pgqueue.jobs set run_at = run_at - interval '1 minute'"

Connection = psycopg.Connection[Any]


@pytest.fixture
def claim(connection: Connection) -> Callable[[Connection], list[int]]:
    """Claims due jobs with the worker's statement, in the connection's open transaction."""
    worker_id = Tables(connection).worker()

    def run(claiming: Connection) -> list[int]:
        values = store._claim(worker_id, [lane()], 10) | {"suspects": True}
        return [row[0] for row in store.execute(claiming, "claim", values)]

    return run


def due_job(connection: Connection, document: Any = KEYED) -> int:
    job_id = enqueue(connection, document)["id"]
    connection.execute(AGE)
    return int(job_id)


@pytest.mark.parametrize("wanted", [REPLACE, LATER])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_claim_that_came_first_keeps_the_job_as_it_is(
    first: Connection,
    second: Connection,
    connection: Connection,
    claim: Callable[[Connection], list[int]],
    wanted: Any,
    wrapped: bool,
) -> None:
    job_id = due_job(connection)
    assert claim(first) == [job_id]
    with waiting(second, [wanted] if wrapped else wanted, connection) as answer:
        first.commit()
        result = answer.result()
    assert (result[0] if wrapped else result) == {"id": job_id, "created": False}
    second.commit()
    row = row_of(connection, job_id)
    assert (row["state"], row["args"]) == ("running", {})


def test_a_claim_that_rolls_back_leaves_the_job_to_be_changed(
    first: Connection,
    second: Connection,
    connection: Connection,
    claim: Callable[[Connection], list[int]],
) -> None:
    job_id = due_job(connection)
    claim(first)
    with waiting(second, REPLACE, connection) as answer:
        first.rollback()
        assert answer.result()["changed"] == "replaced"
    second.commit()
    assert row_of(connection, job_id)["args"] == {"new": True}


@pytest.mark.parametrize(
    ("wanted", "claimed_after"), [(REPLACE, True), (LATER, False), (STARTED, True)]
)
def test_a_job_met_by_an_open_transaction_does_not_start_before_its_end(
    first: Connection,
    second: Connection,
    connection: Connection,
    claim: Callable[[Connection], list[int]],
    wanted: Any,
    claimed_after: bool,
) -> None:
    job_id = due_job(connection, STARTED)
    assert enqueue(first, wanted)["created"] is False
    assert claim(second) == []
    first.commit()
    assert claim(second) == ([job_id] if claimed_after else [])
    if claimed_after and wanted is REPLACE:
        second.commit()
        assert row_of(connection, job_id)["args"] == {"new": True}


@pytest.mark.parametrize("policy", ["existing", "replace", "reschedule"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_until_started_a_claim_that_came_first_means_a_new_job(
    first: Connection,
    second: Connection,
    connection: Connection,
    claim: Callable[[Connection], list[int]],
    policy: str,
    wrapped: bool,
) -> None:
    job_id = due_job(connection, STARTED)
    claim(first)
    wanted = STARTED | {"on_conflict": policy, "args": {"new": True}}
    document = [{"task": "other"}, wanted, wanted] if wrapped else wanted
    with waiting(second, document, connection) as answer:
        first.commit()
        result = answer.result()
    second.commit()
    made = result[1] if wrapped else result
    assert made["created"] is True
    assert made["id"] != job_id
    if wrapped:
        assert result[2]["id"] == made["id"]
        assert result[2]["created"] is False
    assert row_of(connection, made["id"])["args"] == {"new": True}
    held = connection.execute("select job_id from pgqueue.idempotency_keys").fetchall()
    assert held == [(made["id"],)]


def test_a_rescheduled_job_that_a_claim_has_seen_due_is_not_claimed(
    first: Connection,
    second: Connection,
    connection: Connection,
    claim: Callable[[Connection], list[int]],
) -> None:
    job_id = due_job(connection)
    enqueue(first, LATER)
    first.commit()
    assert claim(second) == []
    assert row_of(connection, job_id)["state"] == "ready"


def test_of_two_that_replace_at_once_the_later_commit_holds(
    first: Connection, second: Connection, connection: Connection
) -> None:
    job_id = due_job(connection)
    enqueue(first, REPLACE | {"args": {"by": "first"}})
    with waiting(second, REPLACE | {"args": {"by": "second"}}, connection) as answer:
        first.commit()
        assert answer.result() == {"id": job_id, "created": False, "changed": "replaced"}
    second.commit()
    assert row_of(connection, job_id)["args"] == {"by": "second"}


@pytest.mark.parametrize("wanted", [REPLACE, LATER])
def test_when_the_holder_rolls_back_the_one_that_would_replace_creates(
    first: Connection, second: Connection, connection: Connection, wanted: Any
) -> None:
    enqueue(first, KEYED)
    with waiting(second, wanted, connection) as answer:
        first.rollback()
        assert answer.result()["created"] is True
    second.commit()
    assert count(connection) == 1


def test_a_cancel_that_came_first_means_a_new_job(
    first: Connection, second: Connection, connection: Connection
) -> None:
    job_id = due_job(connection)
    store.execute(first, "operator_cancel", {"ids": [job_id]})
    with waiting(second, REPLACE, connection) as answer:
        first.commit()
        assert answer.result()["created"] is True
    second.commit()
    live = "select id from pgqueue.jobs where state = 'ready'"
    assert connection.execute(live).fetchall() == [(answer.result()["id"],)]


def test_jobs_to_be_changed_are_locked_by_id_whatever_their_keys(
    first: Connection, second: Connection, connection: Connection
) -> None:
    low = enqueue(connection, KEYED | {"key": "z"})["id"]
    high = enqueue(connection, KEYED | {"key": "a"})["id"]
    first.execute("select from pgqueue.jobs where id = %s for update", [low])
    both = [REPLACE | {"key": "a"}, REPLACE | {"key": "z"}]
    with waiting(second, both, connection) as answer:
        # As an operator does, who has the lower id already: in any other order, a deadlock.
        first.execute("select from pgqueue.jobs where id = %s for update", [high])
        first.commit()
        assert [one["changed"] for one in answer.result()] == ["replaced", "replaced"]
    second.commit()


@pytest.mark.parametrize("wanted", [REPLACE, LATER, STARTED])
def test_above_read_committed_a_change_of_the_holder_is_the_caller_s_own_failure(
    dsn: str, connection: Connection, wanted: Any
) -> None:
    due_job(connection, STARTED)
    with psycopg.connect(dsn, options=LIMITED) as caller:
        caller.isolation_level = IsolationLevel.REPEATABLE_READ
        caller.execute("select count(*) from pgqueue.jobs")
        connection.execute(AGE)
        with pytest.raises(psycopg.errors.SerializationFailure):
            callers.send(caller, json.dumps(wanted))
