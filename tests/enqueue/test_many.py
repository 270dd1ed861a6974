"""Many jobs, and any value of JSON, on the way to the database and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings, strategies as st

from pgqueue import payload
from pgqueue.enqueue import callers, contract
from pgqueue.job import NewJob
from tests.enqueue.sql import count
from tests.unit.test_payload import json_values, texts

if TYPE_CHECKING:
    import psycopg

LIMIT = 1024 * 1024


def test_a_hundred_thousand_jobs_are_no_problem(connection: psycopg.Connection) -> None:
    jobs = (NewJob(task="t", args={"n": n}) for n in range(100_000))
    ids: list[int] = []
    with connection.transaction():
        for document, size in contract.encode_many(jobs, limit=LIMIT):
            answers = contract.decode_many(callers.send(connection, document))
            assert len(answers) == size
            ids += [answer.id for answer in answers]
    assert len(set(ids)) == 100_000
    sql = "select array_agg((args ->> 'n')::integer order by id) from pgqueue.jobs"
    assert connection.execute(sql).fetchone() == ([*range(100_000)],)
    assert ids == sorted(ids)


def test_ten_thousand_keys_in_one_call(connection: psycopg.Connection) -> None:
    jobs = [NewJob(task="t", key=f"k{n}") for n in range(10_000)]
    ((document, _),) = contract.encode_many(jobs, limit=LIMIT)
    first = contract.decode_many(callers.send(connection, document))
    second = contract.decode_many(callers.send(connection, document))
    assert all(answer.created for answer in first)
    assert not any(answer.created for answer in second)
    assert [answer.id for answer in first] == [answer.id for answer in second]
    assert count(connection) == 10_000


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(texts, json_values))
def test_what_is_encoded_comes_back_equal_from_jsonb(
    shared: psycopg.Connection, args: dict[str, Any]
) -> None:
    text = payload.encode_args(args, limit=LIMIT)
    row = shared.execute("select %s::jsonb::text", [text]).fetchone()
    assert row is not None
    assert same(args, payload.decode(row[0]))


def test_the_largest_of_everything_comes_back_equal(shared: psycopg.Connection) -> None:
    nest: Any = 10**4299
    for _ in range(63):
        nest = [nest]
    args = {"nest": nest, "text": "\x01\x7f\x85\\u0000 \U0010ffff", "": [1e308, 5e-324, -0.0, 0.1]}
    with shared.transaction(force_rollback=True):
        document = contract.encode(NewJob(task="t", args=args), limit=LIMIT)
        job_id = json.loads(callers.send(shared, document))["id"]
        sql = "select args::text from pgqueue.jobs where id = %s"
        row = shared.execute(sql, [job_id]).fetchone()
    assert row is not None
    assert same(args, payload.decode(row[0]))


def same(sent: Any, back: Any) -> bool:
    """Equal; but jsonb keeps decimals, so 1e23 comes back as an integer, which is that float."""
    if isinstance(sent, float):
        return type(back) in {int, float} and float(back) == sent
    if type(sent) is not type(back):
        return False
    if isinstance(sent, dict):
        return sent.keys() == back.keys() and all(same(sent[name], back[name]) for name in sent)
    if isinstance(sent, list):
        return len(sent) == len(back) and all(map(same, sent, back))
    return bool(sent == back)
