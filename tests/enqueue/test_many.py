"""Many jobs, and any value of JSON, on the way to the database and back."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pgqueue import payload
from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.enqueue import callers, contract
from pgqueue.job import NewJob
from tests.enqueue.sql import count
from tests.unit.test_payload import json_values, texts
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_a_generator_is_read_chunk_by_chunk_and_progress_is_told(
    dsn: str, connection: psycopg.Connection
) -> None:
    told: list[int] = []
    ahead = 0

    def jobs() -> Iterator[NewJob]:
        nonlocal ahead
        for number in range(25_000):
            ahead = max(ahead, number - (told[-1] if told else 0))
            yield NewJob(task="t", key=f"k{number % 20_000}")

    with PgQueue(dsn) as app:
        created = app.enqueue_many(jobs(), on_progress=told.append, return_handles=False)
    assert told == [10_000, 20_000, 25_000]
    assert ahead <= contract.CHUNK_JOBS  # of the next chunk, one job is made before this is sent
    assert created == count(connection) == 20_000


def test_without_handles_a_chunk_is_all_that_stays_in_memory(dsn: str) -> None:
    def peak(jobs: int) -> int:
        tracemalloc.start()
        with PgQueue(dsn) as app:
            app.enqueue_many((NewJob(task="t") for _ in range(jobs)), return_handles=False)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(30_000) < 1.2 * peak(10_000)


def test_progress_that_raises_leaves_no_job(dsn: str, connection: psycopg.Connection) -> None:
    def stop(jobs: int) -> None:
        raise KeyboardInterrupt(jobs)

    with PgQueue(dsn) as app, pytest.raises(KeyboardInterrupt):
        app.enqueue_many([NewJob(task="t")], on_progress=stop)
    assert count(connection) == 0


def test_async_callers_are_told_too(dsn: str) -> None:
    told: list[int] = []
    jobs = [NewJob(task="t", key=str(number % 5)) for number in range(10)]

    async def produce() -> list[int]:
        with PgQueue(dsn) as app:
            first = await app.aenqueue_many(jobs, on_progress=told.append, return_handles=False)
            async with await psycopg.AsyncConnection.connect(dsn) as caller:
                bound = app.using(caller)
                second = await bound.aenqueue_many(jobs, on_progress=told.append)
        return [first, len(second)]

    assert asyncio.run(produce()) == [5, 10]
    assert told == [10, 10]


def test_a_slow_generator_keeps_its_transaction(dsn: str, connection: psycopg.Connection) -> None:
    """Between two statements more time may pass than a statement may take."""
    limit = Settings(statement_timeout=1, lock_timeout=1)
    idle = (
        "select 1 from pg_stat_activity where application_name = 'pgqueue:client' "
        "and datname = current_database() and state = 'idle in transaction' "
        "and clock_timestamp() - state_change > interval '1.2 s'"
    )

    def jobs() -> Iterator[NewJob]:
        yield from [NewJob(task="t")] * (contract.CHUNK_JOBS + 1)
        wait_until(lambda: connection.execute(idle).fetchone(), what="a long pause")

    with PgQueue(dsn, settings=limit) as app:
        assert app.enqueue_many(jobs(), return_handles=False) == contract.CHUNK_JOBS + 1


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
