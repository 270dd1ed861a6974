"""pgqueue.enqueue(text): members and their defaults, times, answers, rights."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgqueue import grants
from pgqueue.job import FINAL_STATES, NewJob
from tests import servers
from tests.enqueue.sql import EMPTY, count, due_in, enqueue, row_of
from tests.sleeping import fall_asleep


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_task_alone_gets_every_default(shared: psycopg.Connection, wrapped: bool) -> None:
    document = {"task": "a.b"}
    answer = enqueue(shared, [document] if wrapped else document)
    answer = answer[0] if wrapped else answer
    assert answer["created"] is True
    assert row_of(shared, answer["id"]) == EMPTY | {"task": "a.b"}
    assert due_in(shared, answer["id"]) == timedelta(0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_every_member_reaches_its_column(shared: psycopg.Connection, wrapped: bool) -> None:
    members = {
        "v": 1,
        "task": "a.b",
        "args": {"a": [1, None]},
        "queue": "mail",
        "priority": -100,
        "run_at": "2040-01-31T12:00:00+01:00",
        "expires_at": "2040-01-31T12:00:00Z",
        "max_attempts": 3,
        "timeout": 2.5,
        "key": f"k{wrapped}",
        "key_scope": "s",
        "unique_for": 60,
        "until": "started",
        "on_conflict": "raise",
        "meta": {"tenant": 7},
        "version": 4,
    }
    (answer,) = enqueue(shared, [members]) if wrapped else [enqueue(shared, members)]
    kept = {name: members[name] for name in members if name in EMPTY}
    expires_at = datetime(2040, 1, 31, 12, tzinfo=UTC)
    assert row_of(shared, answer["id"]) == EMPTY | kept | {"task": "a.b", "expires_at": expires_at}
    due = shared.execute("select run_at from pgqueue.jobs where id = %s", [answer["id"]]).fetchone()
    assert due == (datetime(2040, 1, 31, 11, tzinfo=UTC),)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "due",
    [{}, {"delay": 3600}, {"run_at": "2040-01-31T12:00:00+01:00"}, {"run_at": "2001-01-01T00:00Z"}],
)
def test_a_ttl_counts_from_when_the_job_is_due(
    shared: psycopg.Connection, due: dict[str, Any], wrapped: bool
) -> None:
    members = {"task": "t", "ttl": 90.5, **due}
    (answer,) = enqueue(shared, [members]) if wrapped else [enqueue(shared, members)]
    query = "select expires_at - run_at from pgqueue.jobs where id = %s"
    assert shared.execute(query, [answer["id"]]).fetchone() == (timedelta(seconds=90.5),)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_ttl_ends_at_the_latest_where_times_end(
    shared: psycopg.Connection, wrapped: bool
) -> None:
    members = {"task": "t", "ttl": 315_360_000, "run_at": "8999-12-31T00:00:00Z"}
    (answer,) = enqueue(shared, [members]) if wrapped else [enqueue(shared, members)]
    assert row_of(shared, answer["id"])["expires_at"] == datetime(9000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "option",
    ["delay", "run_at", "expires_at", "ttl", "timeout", "key", "key_scope", "unique_for", "until"],
)
def test_null_is_nothing_where_the_default_is_null(shared: psycopg.Connection, option: str) -> None:
    answers = [enqueue(shared, {"task": "t", option: None})]
    answers += enqueue(shared, [{"task": "t", option: None}])
    for answer in answers:
        assert answer["created"] is True
        assert row_of(shared, answer["id"]) == EMPTY | {"task": "t"}


def test_the_defaults_of_sql_are_those_of_python(shared: psycopg.Connection) -> None:
    job = NewJob(task="t")
    row = row_of(shared, enqueue(shared, {"task": "t"})["id"])
    for field in fields(NewJob):
        if field.name in row:
            assert row[field.name] == getattr(job, field.name), field.name
    assert {field.name for field in fields(NewJob)} - row.keys() == {
        "delay",
        "run_at",
        "ttl",
        "unique_for",
        "until",
        "on_conflict",
    }


def test_an_option_left_out_by_python_means_the_same_in_sql(shared: psycopg.Connection) -> None:
    job = NewJob(task="t")
    for field in fields(NewJob):
        # A member of the document for each option, whatever the contract leaves out.
        value = getattr(job, field.name)
        answer = enqueue(shared, {"task": "t", field.name: value})
        assert row_of(shared, answer["id"]) == EMPTY | {"task": "t"}, field.name


# Time


@pytest.mark.parametrize("delay", [5, 2.5, 0.000001, 315_360_000])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_delay_is_added_to_the_time_of_the_call(
    shared: psycopg.Connection, delay: float, wrapped: bool
) -> None:
    document = {"task": "t", "delay": delay}
    (answer,) = enqueue(shared, [document]) if wrapped else [enqueue(shared, document)]
    assert due_in(shared, answer["id"]) == timedelta(seconds=delay)


@pytest.mark.parametrize("delay", ["1e-400", "0.1234567891234", "0", "-0.0"])
def test_a_delay_below_a_microsecond_is_none(shared: psycopg.Connection, delay: str) -> None:
    answer = enqueue(shared, f'{{"task": "t", "delay": {delay}}}')
    assert due_in(shared, answer["id"]) == timedelta(seconds=round(float(delay), 6))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_past_time_is_raised_to_the_time_of_the_call(
    shared: psycopg.Connection, wrapped: bool
) -> None:
    document = {"task": "t", "run_at": "2001-01-01T00:00:00Z"}
    (answer,) = enqueue(shared, [document]) if wrapped else [enqueue(shared, document)]
    assert due_in(shared, answer["id"]) == timedelta(0)


def test_in_an_old_transaction_a_job_is_due_now_and_not_at_its_begin(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("select now()")
        for document in ({"task": "t"}, [{"task": "t"}], {"task": "t", "key": "k"}):
            enqueue(connection, document)
        sql = "select run_at > now(), created_at > now() from pgqueue.jobs"
        assert connection.execute(sql).fetchall() == [(True, True)] * 3


@pytest.mark.parametrize(
    "text",
    [
        "2040-01-31T12:00:00Z",
        "2040-01-31 13:00:00+01",
        "2040-01-31T12:00+00:00",
        "2040-01-31T06:30:00.000000-0530",
        "2040-01-31T12:00:00.000000000+00:00",
    ],
)
@pytest.mark.parametrize("style", ["ISO, MDY", "German", "SQL, DMY"])
def test_times_are_read_alike_under_every_setting(dsn: str, text: str, style: str) -> None:
    with psycopg.connect(dsn, options="-c timezone=Asia/Kolkata") as connection:
        connection.execute("select set_config('datestyle', %s, false)", [style])
        job_id = enqueue(connection, {"task": "t", "run_at": text})["id"]
        connection.execute("set datestyle = 'ISO'")
        row = connection.execute("select run_at from pgqueue.jobs where id = %s", [job_id])
        assert row.fetchone() == (datetime(2040, 1, 31, 12, tzinfo=UTC),)


@pytest.mark.parametrize("day", ["2040-02-29", "2040-01-31", "2041-02-28", "2000-01-01"])
def test_every_day_of_the_calendar_is_accepted(shared: psycopg.Connection, day: str) -> None:
    answer = enqueue(shared, {"task": "t", "run_at": f"{day}T00:00:00Z"})
    assert answer["created"] is True


def test_an_empty_array_is_answered_with_one(shared: psycopg.Connection) -> None:
    before = count(shared)
    assert enqueue(shared, []) == []
    assert count(shared) == before


def test_answers_are_in_the_order_of_the_jobs(shared: psycopg.Connection) -> None:
    tasks = [f"t{n}" for n in range(1000)]
    for key in ({}, {"key": "order"}):
        answers = enqueue(shared, [{"task": task} | key for task in tasks])
        assert [row_of(shared, answer["id"])["task"] for answer in answers] == tasks
        assert [answer["created"] for answer in answers] == [True] * 1000
        ids = [answer["id"] for answer in answers]
        assert ids == sorted(ids)


def test_the_functions_are_not_for_everybody(shared: psycopg.Connection) -> None:
    sql = """
        select proname::text, prosecdef, provolatile::text, proconfig is null,
            has_function_privilege('public', oid, 'execute')
        from pg_proc where pronamespace = 'pgqueue'::regnamespace order by proname"""
    assert shared.execute(sql).fetchall() == [
        ("check_job", False, "v", True, False),
        ("due_at", False, "s", True, False),
        ("enqueue", False, "v", True, False),
        ("expires_at", False, "s", True, False),
        ("is_instant", False, "s", True, False),
        ("job_is_plain", False, "s", True, False),
        ("key_is_held", False, "i", True, False),
        ("meet_holder", False, "v", True, False),
        ("refuse_full", False, "v", True, False),
        ("remove_jobs", False, "v", True, False),
        ("take_key", False, "v", True, False),
    ]


@pytest.mark.parametrize("document", ['{"task": "t", "key": "k"}', '[{"task": "t", "key": "k"}]'])
def test_the_rights_of_a_producer_are_enough_to_enqueue(
    connection: psycopg.Connection, document: str
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("create role producer")
        connection.execute("\n".join(grants.producer("producer")).encode())
        fall_asleep(connection, "default", 1)
        connection.execute("set local role producer")
        enqueue(connection, document)
        connection.execute("reset role")
        connection.execute("update pgqueue.jobs set state = 'dead', lease = 1")
        connection.execute("set local role producer")
        enqueue(connection, document)
        connection.execute("reset role")
        assert count(connection) == 2


@pytest.mark.parametrize("policy", ["replace", "reschedule"])
def test_the_documented_rights_are_enough_to_change_jobs_that_wait(
    connection: psycopg.Connection, policy: str
) -> None:
    document = {"task": "t", "key": "k", "until": "started", "on_conflict": policy}
    with connection.transaction(force_rollback=True):
        connection.execute("create role producer")
        connection.execute("\n".join(grants.producer("producer")).encode())
        connection.execute(documented_grant().encode())
        connection.execute("set local role producer")
        enqueue(connection, document)
        assert enqueue(connection, document)["changed"].startswith(policy)
        assert enqueue(connection, [document | {"on_conflict": "existing"}])[0]["created"] is False


def documented_grant() -> str:
    """What a producer needs besides to change jobs that wait."""
    page = (servers.ROOT / "docs" / "enqueue.md").read_text("utf-8")
    [to_change] = re.findall(r"```sql\n(grant.*?)```", page, re.DOTALL)
    return str(to_change)


def test_no_jobs_at_all_are_no_answer(shared: psycopg.Connection) -> None:
    assert shared.execute("select pgqueue.enqueue(null)").fetchone() == (None,)


def test_the_final_states_are_those_of_the_package(shared: psycopg.Connection) -> None:
    listed = "({})".format(", ".join(f"'{state}'" for state in FINAL_STATES))
    source = shared.execute(
        "select prosrc from pg_proc where pronamespace = 'pgqueue'::regnamespace "
        "and proname = 'key_is_held'"
    ).fetchone()
    assert source is not None
    assert source[0].count("state not in " + listed) == 1
