"""What happens when a key is held: on_conflict, and the terms on which a key is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.enqueue.sql import count, enqueue, row_of
from tests.enqueue.test_keys import end_windows, set_state
from tests.sleeping import fall_asleep

if TYPE_CHECKING:
    from datetime import datetime

KEYED = {"task": "t", "key": "k"}
FIRST = KEYED | {"args": {"n": 1}, "meta": {"m": 1}}
SECOND = KEYED | {"args": {"n": 2}, "meta": {"m": 2}, "version": 2}
REPLACE = SECOND | {"on_conflict": "replace"}
RESCHEDULE = SECOND | {"on_conflict": "reschedule"}


def ask(connection: psycopg.Connection, document: Any, wrapped: bool) -> Any:
    """The answer for one job, enqueued alone or as one of many."""
    if not wrapped:
        return enqueue(connection, document)
    return enqueue(connection, [{"task": "other"}, document])[1]


def run_at(connection: psycopg.Connection, job_id: int) -> datetime:
    row = connection.execute("select run_at from pgqueue.jobs where id = %s", [job_id]).fetchone()
    assert row is not None
    due: datetime = row[0]
    return due


def start(connection: psycopg.Connection, job_id: int) -> None:
    connection.execute(
        "update pgqueue.jobs set state = 'running', lease = lease + 1, attempt = attempt + 1, "
        "worker_id = 1 where id = %s",
        [job_id],
    )


wrapped_or_not = pytest.mark.parametrize("wrapped", [False, True])


@wrapped_or_not
def test_replace_gives_a_waiting_job_the_new_arguments(
    connection: psycopg.Connection, wrapped: bool
) -> None:
    job_id = enqueue(connection, FIRST | {"delay": 60, "priority": 5})["id"]
    due = run_at(connection, job_id)
    answer = ask(connection, REPLACE | {"delay": 5, "priority": 9, "queue": "q"}, wrapped)
    assert answer == {"id": job_id, "created": False, "changed": "replaced"}
    row = row_of(connection, job_id)
    assert (row["args"], row["meta"], row["version"]) == ({"n": 2}, {"m": 2}, 2)
    assert (row["priority"], row["queue"], row["lease"]) == (5, "default", 0)
    assert run_at(connection, job_id) == due


@wrapped_or_not
def test_reschedule_counts_the_new_ttl_from_the_new_time(
    connection: psycopg.Connection, wrapped: bool
) -> None:
    job_id = enqueue(connection, FIRST)["id"]
    ask(connection, RESCHEDULE | {"delay": 60, "ttl": 5}, wrapped)
    query = "select extract(epoch from expires_at - run_at) from pgqueue.jobs where id = %s"
    assert connection.execute(query, [job_id]).fetchone() == (5,)


@wrapped_or_not
def test_reschedule_gives_a_waiting_job_the_new_time_too(
    connection: psycopg.Connection, wrapped: bool
) -> None:
    job_id = enqueue(connection, FIRST | {"expires_at": "2040-01-01T00:00:00Z"})["id"]
    answer = ask(connection, RESCHEDULE | {"run_at": "2050-01-01T00:00:00Z"}, wrapped)
    assert answer == {"id": job_id, "created": False, "changed": "rescheduled"}
    row = row_of(connection, job_id)
    assert (row["args"], row["expires_at"]) == ({"n": 2}, None)
    assert run_at(connection, job_id).year == 2050


def test_reschedule_without_a_time_makes_the_job_due_and_wakes_a_worker(
    connection: psycopg.Connection,
) -> None:
    job_id = enqueue(connection, FIRST | {"delay": 3600, "priority": 7})["id"]
    fall_asleep(connection, "default", 1)
    connection.execute('listen "pgqueue.default"')
    enqueue(connection, RESCHEDULE)
    sql = "select run_at <= clock_timestamp() from pgqueue.jobs where id = %s"
    assert connection.execute(sql, [job_id]).fetchone() == (True,)
    assert [told.payload for told in connection.notifies(timeout=0)] == ["7"]


def test_reschedule_into_the_future_wakes_nobody(connection: psycopg.Connection) -> None:
    enqueue(connection, FIRST | {"delay": 60})
    fall_asleep(connection, "default", 1)
    connection.execute('listen "pgqueue.default"')
    enqueue(connection, RESCHEDULE | {"delay": 60})
    assert list(connection.notifies(timeout=0)) == []


@wrapped_or_not
@pytest.mark.parametrize("policy", [REPLACE, RESCHEDULE | {"delay": 60}])
@pytest.mark.parametrize("retrying", [False, True])
def test_a_job_that_has_started_is_not_changed(
    connection: psycopg.Connection, policy: Any, wrapped: bool, retrying: bool
) -> None:
    job_id = enqueue(connection, FIRST)["id"]
    start(connection, job_id)
    if retrying:
        connection.execute("update pgqueue.jobs set state = 'ready', lease = lease + 1")
    before = row_of(connection, job_id)
    assert ask(connection, policy, wrapped) == {"id": job_id, "created": False}
    assert row_of(connection, job_id) == before


@wrapped_or_not
def test_a_blocked_job_is_changed(connection: psycopg.Connection, wrapped: bool) -> None:
    job_id = enqueue(connection, FIRST)["id"]
    set_state(connection, job_id, "blocked")
    assert ask(connection, REPLACE, wrapped)["changed"] == "replaced"
    assert row_of(connection, job_id)["state"] == "blocked"


@wrapped_or_not
@pytest.mark.parametrize("policy", ["raise", "replace", "reschedule"])
def test_a_free_key_is_taken_whatever_the_policy(
    connection: psycopg.Connection, policy: str, wrapped: bool
) -> None:
    answer = ask(connection, SECOND | {"on_conflict": policy}, wrapped)
    assert answer == {"id": answer["id"], "created": True}
    set_state(connection, answer["id"], "dead")
    again = ask(connection, SECOND | {"on_conflict": policy}, wrapped)
    assert again["created"] is True


@wrapped_or_not
def test_raise_is_an_error_of_its_own_that_names_the_holder(
    connection: psycopg.Connection, wrapped: bool
) -> None:
    job_id = enqueue(connection, FIRST)["id"]
    with pytest.raises(psycopg.Error) as refusal:
        ask(connection, SECOND | {"on_conflict": "raise"}, wrapped)
    assert refusal.value.sqlstate == "PQ004"
    assert refusal.value.diag.message_primary == (
        f'job {job_id} holds the key "k" in scope "t": nothing was enqueued'
    )
    assert count(connection) == 1


@pytest.mark.parametrize("policy", ["replace", "reschedule"])
def test_within_its_window_a_job_that_ended_stays_as_it_is(
    connection: psycopg.Connection, policy: str
) -> None:
    job_id = enqueue(connection, FIRST | {"unique_for": 60})["id"]
    set_state(connection, job_id, "dead")
    before = row_of(connection, job_id)
    assert enqueue(connection, SECOND | {"on_conflict": policy}) == {"id": job_id, "created": False}
    assert row_of(connection, job_id) == before


# Many at once are as if enqueued one after the other.


def test_of_duplicates_in_one_call_the_last_replaces(connection: psycopg.Connection) -> None:
    answers = enqueue(connection, [REPLACE | {"args": {"n": n}} for n in range(3)])
    (job_id,) = {answer["id"] for answer in answers}
    assert [answer.get("changed", answer["created"]) for answer in answers] == [
        True,
        "replaced",
        "replaced",
    ]
    assert row_of(connection, job_id)["args"] == {"n": 2}
    assert count(connection) == 1


def test_each_duplicate_in_a_call_follows_its_own_policy(connection: psycopg.Connection) -> None:
    jobs = [
        FIRST,
        REPLACE,
        KEYED | {"args": {"n": 3}},
        RESCHEDULE | {"args": {"n": 4}, "delay": 60},
        {"task": "t"},
    ]
    answers = enqueue(connection, jobs)
    assert [answer.get("changed", answer["created"]) for answer in answers] == [
        True,
        "replaced",
        False,
        "rescheduled",
        True,
    ]
    assert row_of(connection, answers[0]["id"])["args"] == {"n": 4}


def test_a_duplicate_in_one_call_can_raise(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error, match="holds the key"):
        enqueue(connection, [FIRST, SECOND | {"on_conflict": "raise"}])
    assert count(connection) == 0


# The terms.


@wrapped_or_not
@pytest.mark.parametrize("policy", ["existing", "replace", "reschedule"])
def test_until_started_the_key_is_free_when_the_job_has_started(
    connection: psycopg.Connection, policy: str, wrapped: bool
) -> None:
    wanted = SECOND | {"until": "started", "on_conflict": policy}
    first = ask(connection, wanted, wrapped)
    assert first["created"] is True
    assert ask(connection, wanted, wrapped)["created"] is False
    start(connection, first["id"])
    second = ask(connection, wanted, wrapped)
    assert second["created"] is True
    assert ask(connection, wanted, wrapped)["id"] == second["id"]


def test_a_job_given_back_unstarted_holds_its_key_again(connection: psycopg.Connection) -> None:
    job_id = enqueue(connection, KEYED | {"until": "started"})["id"]
    start(connection, job_id)
    # As release and rescue do.
    connection.execute("update pgqueue.jobs set state = 'ready', lease = lease + 1, attempt = 0")
    assert enqueue(connection, KEYED | {"until": "started"}) == {"id": job_id, "created": False}


def test_the_holder_s_terms_decide_and_not_those_of_who_comes_later(
    connection: psycopg.Connection,
) -> None:
    job_id = enqueue(connection, KEYED)["id"]
    start(connection, job_id)
    later = KEYED | {"until": "started", "on_conflict": "replace"}
    assert enqueue(connection, later) == {"id": job_id, "created": False}


def test_given_a_window_and_until_the_key_is_free_when_either_is_over(
    connection: psycopg.Connection,
) -> None:
    both = KEYED | {"unique_for": 60, "until": "finished"}
    first = enqueue(connection, both)
    assert enqueue(connection, both)["created"] is False
    set_state(connection, first["id"], "succeeded")
    second = enqueue(connection, both)
    assert second["created"] is True
    end_windows(connection)
    assert enqueue(connection, both)["created"] is True


def test_a_key_taken_over_gets_the_new_job_s_terms(connection: psycopg.Connection) -> None:
    first = enqueue(connection, KEYED | {"until": "started"})
    start(connection, first["id"])
    enqueue(connection, KEYED)
    terms = connection.execute("select until, expires_at from pgqueue.idempotency_keys")
    assert terms.fetchall() == [("finished", None)]
