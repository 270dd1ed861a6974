"""What the SQL function refuses, how it says so, and that Python refuses the same."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pgqueue.enqueue import contract
from pgqueue.errors import InvalidJob
from pgqueue.job import NewJob
from tests.enqueue.bad_input import NAIVE, REFUSED, REFUSED_IN_SQL, SOON, as_document
from tests.enqueue.sql import count, enqueue

LIMIT = 1024 * 1024


def refusal(connection: psycopg.Connection, document: Any) -> str:
    """The primary message of an invalid document; its SQLSTATE is checked."""
    with pytest.raises(psycopg.Error) as raised:
        enqueue(connection, document)
    assert raised.value.sqlstate == "PQ001", raised.value
    return str(raised.value.diag.message_primary)


ALL_REFUSED = [(path, as_document(members)) for path, members, _ in REFUSED]
ALL_REFUSED += [(path, as_document(members)) for path, members in REFUSED_IN_SQL]


@pytest.mark.parametrize(("path", "document"), ALL_REFUSED)
def test_bad_input_is_refused_with_its_path(
    shared: psycopg.Connection, path: str, document: dict[str, Any]
) -> None:
    before = count(shared)
    assert refusal(shared, document).startswith(f"{path}: ")
    many = [{"task": "good"}, document, {"task": "good"}]
    assert refusal(shared, many).startswith(f"[1].{path}: ")
    assert count(shared) == before


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (5, 'the document: 5 is refused; expected an object with at least a "task"'),
        (None, 'the document: null is refused; expected an object with at least a "task"'),
        ([{"task": "t"}, []], '[1]: [] is refused; expected an object with at least a "task"'),
        (
            {},
            (
                "task: nothing is refused; expected a name of 1 to 128 characters of "
                "A-Z a-z 0-9 _ . : -"
            ),
        ),
        (
            {"task": "t", "v": 2},
            "v: 2 is refused; expected 1; for a newer document run pgqueue migrate",
        ),
        (
            {"task": "t", "prio": 1},
            (
                "prio: 1 is refused; expected no such member; known are v, task, args, queue, "
                "priority, delay, run_at, expires_at, ttl, max_attempts, timeout, key, key_scope, "
                "unique_for, until, on_conflict, meta, version"
            ),
        ),
    ],
)
def test_a_refusal_names_value_and_rule(
    shared: psycopg.Connection, document: Any, message: str
) -> None:
    assert refusal(shared, document) == message


def test_many_refusals_name_the_first(shared: psycopg.Connection) -> None:
    document = [{"task": "t"}, {"task": "t", "priority": 101}, {"task": ""}]
    assert refusal(shared, document).startswith("[1].priority: ")


POOL: dict[str, list[Any]] = {
    "task": ["a.b-c:d_e", "x" * 128, "", "a b", None, 5],
    "args": [{}, {"a": 1}, [], None],
    "queue": ["default", "mail", "x" * 50, "x" * 51, None, 1],
    "priority": [0, -100, 100, 101, 1.0, "1", None, True],
    "delay": [None, 0, 1.5, 315_360_000, 315_360_001, -1, "1", True],
    "run_at": [None, SOON, NAIVE, "x", SOON.replace(day=29), SOON.replace(year=2001)],
    "expires_at": [None, SOON, SOON + timedelta(days=5000), NAIVE, 1],
    "ttl": [None, 60, 0.001, 315_360_000, 315_360_001, 0, "1", True],
    "max_attempts": [1, 8, 10_000, 10_001, 0, 1.0, None],
    "timeout": [None, 0.001, 31_536_000, 1, 0, "1"],
    "key": [None, "k", "é" * 256, "", "\x1f", "x" * 513],
    "key_scope": [None, "s", "", "a b"],
    "unique_for": [None, 60, 0.001, 0],
    "until": [None, "finished", "started", "", "later"],
    "on_conflict": ["existing", "raise", "replace", "reschedule", "", None],
    "meta": [{}, {"m": 1}, None, []],
    "version": [1, 2, 0, 2**31 - 1, 2**31, 1.0],
}
jobs = st.fixed_dictionaries(
    {"task": st.sampled_from(POOL["task"][:2]) | st.sampled_from(POOL["task"])},
    optional={name: st.sampled_from(POOL[name]) for name in POOL if name != "task"},
)


def refused_by_sql(connection: psycopg.Connection, text: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            enqueue(connection, text)
    except psycopg.DatabaseError as error:
        if error.sqlstate != "PQ001":
            raise
        return True
    return False


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs)
def test_python_and_sql_refuse_the_same_jobs(
    shared: psycopg.Connection, members: dict[str, Any]
) -> None:
    document = json.dumps(as_document(members))
    refused_by_python = False
    try:
        contract.encode(NewJob(**members), limit=LIMIT)
    except InvalidJob:
        refused_by_python = True
    for text in (document, f"[{document}]"):
        assert refused_by_sql(shared, text) == refused_by_python
    plain = shared.execute("select pgqueue.job_is_plain(%s::jsonb)", [document]).fetchone()
    assert plain in {(False,), (not refused_by_python,)}
