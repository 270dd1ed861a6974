"""COPY stores what enqueue_many stores, wakes whom it wakes, and refuses what it refuses."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.enqueue import copy
from pgqueue.errors import InvalidJob, SchemaError, TransactionUnusable
from pgqueue.job import NewJob
from tests.enqueue.bad_input import REFUSED, REFUSED_IN_PYTHON
from tests.enqueue.sql import COLUMNS, count
from tests.sleeping import fall_asleep
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LATER = datetime(2040, 1, 31, 12, tzinfo=UTC)
TEXTS = ["plain", "\\N", "\\.", "tab\tline\nfeed\r", "\\t \\\\ ' \"", "\x01\x7f\x85 é \U0001f600"]

JOBS = [
    NewJob(task="t"),
    NewJob(task="a.b:c-d", args={text: text for text in TEXTS}, meta={"m": TEXTS}),
    NewJob(task="t", queue="mail", priority=-100, max_attempts=3, timeout=2.5, version=4),
    NewJob(task="t", timeout=timedelta(minutes=1), delay=timedelta(hours=1)),
    NewJob(task="t", delay=2.5, timeout=7),
    NewJob(task="t", run_at=LATER, expires_at=LATER + timedelta(days=1)),
    NewJob(task="t", run_at=datetime(2001, 1, 1, tzinfo=UTC), expires_at=LATER),
]


@pytest.fixture
def app(dsn: str) -> Iterator[PgQueue]:
    with PgQueue(dsn) as made:
        yield made


@pytest.fixture
def caller(shared: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection in which no transaction has begun."""
    with psycopg.connect(shared.info.dsn) as connected:
        yield connected
        if not connected.closed:
            connected.rollback()


def rows(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """All that enqueue decides; of times, how far they are from the job's creation."""
    # To a millisecond: Python and PostgreSQL may round a delay apart by a microsecond.
    due = "date_trunc('ms', case when run_at < '2040-01-01' then run_at - created_at end)"
    query = f"select {COLUMNS}, {due}, greatest(run_at, '2040-01-01') from pgqueue.jobs order by id"
    return connection.execute(query.encode()).fetchall()


PLAIN_JOBS = [
    NewJob(task="t", queue="mail"),
    NewJob(task="a.b:c-d", args={text: text for text in TEXTS}),
]


@pytest.mark.parametrize(
    ("jobs", "form"), [(JOBS, copy.FULL), (PLAIN_JOBS, copy.PLAIN)], ids=["options", "plain"]
)
def test_the_rows_are_those_of_enqueue_many(
    app: PgQueue, connection: psycopg.Connection, jobs: list[NewJob], form: str
) -> None:
    assert copy._Load.form(jobs) == form
    app.enqueue_many(jobs)
    expected = rows(connection)
    connection.execute("truncate pgqueue.jobs")
    assert app.copy_jobs(jobs) == len(jobs)
    assert rows(connection) == expected


def test_every_option_makes_a_job_one_that_needs_all_columns() -> None:
    values: dict[str, Any] = {
        "priority": 1,
        "max_attempts": 3,
        "timeout": 1.0,
        "version": 2,
        "delay": 1,
        "run_at": LATER,
        "expires_at": LATER,
        "ttl": 60,
        "meta": {"a": 1},
        "key_scope": "s",
        "unique_for": 1,
    }
    for name, value in values.items():
        job = NewJob(**{"task": "t", name: value})
        assert copy._Load.form([NewJob(task="t"), job]) == copy.FULL, name


def test_a_ttl_counts_from_when_the_job_is_due(
    app: PgQueue, connection: psycopg.Connection
) -> None:
    app.copy_jobs(
        [
            NewJob(task="t", ttl=90.5),
            NewJob(task="t", ttl=timedelta(minutes=2)),
            NewJob(task="t", ttl=3, delay=60),
            NewJob(task="t", ttl=4, run_at=LATER),
            NewJob(task="t", ttl=315_360_000, run_at=datetime(8999, 12, 31, tzinfo=UTC)),
        ]
    )
    query = "select extract(epoch from expires_at - run_at) from pgqueue.jobs order by id"
    ages = [float(age) for (age,) in connection.execute(query)]
    assert ages == [90.5, 120, 3, 4, 24 * 3600]


def test_a_job_is_created_at_the_database_s_time(
    app: PgQueue, connection: psycopg.Connection
) -> None:
    [before] = connection.execute("select clock_timestamp()").fetchall()
    app.copy_jobs([NewJob(task="t")])
    [(created, run_at)] = connection.execute("select created_at, run_at from pgqueue.jobs")
    [after] = connection.execute("select clock_timestamp()").fetchall()
    assert before[0] <= created <= run_at <= after[0]


@pytest.mark.parametrize("style", ["set datestyle = 'SQL, DMY'", "set client_encoding = 'LATIN1'"])
def test_settings_of_the_session_do_not_matter(
    app: PgQueue, connection: psycopg.Connection, style: str
) -> None:
    connection.execute("set timezone = 'Asia/Kolkata'")
    connection.execute(style.encode())
    app.using(connection).copy_jobs(JOBS)
    connection.execute("set client_encoding = 'UTF8'; set datestyle = 'ISO'")
    [(args,)] = connection.execute("select args from pgqueue.jobs where task = 'a.b:c-d'")
    assert args == {text: text for text in TEXTS}
    [(run_at,)] = connection.execute("select max(run_at) from pgqueue.jobs")
    assert run_at == LATER


def test_it_is_the_caller_s_transaction(
    app: PgQueue, dsn: str, connection: psycopg.Connection
) -> None:
    with psycopg.connect(dsn) as caller:
        app.using(caller).copy_jobs(JOBS)
        caller.rollback()
        assert count(connection) == 0
        app.using(caller).copy_jobs(JOBS)
    assert count(connection) == len(JOBS)


def test_an_async_connection_too(app: PgQueue, dsn: str, connection: psycopg.Connection) -> None:
    async def produce() -> list[int]:
        async with await psycopg.AsyncConnection.connect(dsn) as caller:
            first = await app.using(caller).acopy_jobs(NewJob(task="t") for _ in range(2500))
        return [first, await app.acopy_jobs(JOBS)]

    assert asyncio.run(produce()) == [2500, len(JOBS)]
    assert count(connection) == 2500 + len(JOBS)


def test_progress_is_told_and_a_generator_may_use_the_connection(
    app: PgQueue, connection: psycopg.Connection
) -> None:
    told: list[int] = []

    def jobs() -> Iterator[NewJob]:
        for number in range(2 * copy.COPY_JOBS + 1):
            if number % 500 == 0:
                assert count(connection) == number - number % copy.COPY_JOBS
            yield NewJob(task="t", args={"n": number})

    assert app.using(connection).copy_jobs(jobs(), on_progress=told.append) == 2001
    assert told == [1000, 2000, 2001]
    [(numbers,)] = connection.execute("select array_agg(args -> 'n' order by id) from pgqueue.jobs")
    assert numbers == [*range(2001)]


def test_sleepers_are_woken_for_what_is_due(
    app: PgQueue, dsn: str, connection: psycopg.Connection
) -> None:
    jobs = [
        NewJob(task="t", queue="mail", priority=5),
        NewJob(task="t", queue="mail", priority=5),
        NewJob(task="t", queue="mail", priority=7, delay=60),
        NewJob(task="t", queue="default"),
    ]
    fall_asleep(connection, "mail", 1, 2)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute('listen "pgqueue.mail"; listen "pgqueue.default"')
        app.copy_jobs(jobs)
        connection.execute("select pg_notify('pgqueue.mail', 'end')")
        got: list[tuple[str, str]] = []

        def ended() -> bool:
            got.extend((note.channel, note.payload) for note in listener.notifies(timeout=0))
            return got[-1:] == [("pgqueue.mail", "end")]

        wait_until(ended, what="the last notification")
    assert got[:-1] == [("pgqueue.mail", "5")]


# What is refused


@pytest.mark.parametrize(("member", "members", "kind"), REFUSED + REFUSED_IN_PYTHON)
def test_what_enqueue_refuses_is_refused_before_any_sql(
    caller: psycopg.Connection, member: str, members: dict[str, Any], kind: type[InvalidJob]
) -> None:
    good, bad = NewJob(task="good"), NewJob(**{"task": "t", **members})
    limit = Settings(max_payload=1024)
    with PgQueue(settings=limit) as app, pytest.raises(kind) as refused:
        app.using(caller).copy_jobs([good, bad])
    assert re.match(rf"\[1\]\.{re.escape(member)}[^a-z_]", str(refused.value))
    assert caller.info.transaction_status == TransactionStatus.IDLE


def test_a_key_is_refused_before_any_sql(caller: psycopg.Connection) -> None:
    jobs = [NewJob(task="t"), NewJob(task="t", key="order-17")]
    words = r"^\[1\]\.key: 'order-17' is refused; COPY honours no keys: use enqueue_many"
    with PgQueue() as app, pytest.raises(InvalidJob, match=words):
        app.using(caller).copy_jobs(jobs)
    assert caller.info.transaction_status == TransactionStatus.IDLE


def test_what_is_no_job_is_refused(caller: psycopg.Connection) -> None:
    jobs: Any = [NewJob(task="t"), {"task": "t"}]
    with PgQueue() as app, pytest.raises(TypeError, match=r"is not a NewJob: make one with task"):
        app.using(caller).copy_jobs(jobs)


@pytest.mark.parametrize(
    "bad", [{"priority": 101}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}]
)
def test_a_bad_job_far_behind_does_not_abort_the_caller_s_transaction(
    caller: psycopg.Connection, bad: dict[str, Any]
) -> None:
    good = copy.COPY_JOBS + copy.BLOCK + 10
    jobs = [*[NewJob(task="t")] * good, NewJob(task="t", **bad), NewJob(task="t")]
    with PgQueue() as app, pytest.raises(InvalidJob, match=rf"^\[{good}\]\.{next(iter(bad))}: "):
        app.using(caller).copy_jobs(jobs)
    assert caller.info.transaction_status == TransactionStatus.INTRANS
    assert count(caller) == good


def test_an_error_of_the_generator_does_not_abort_the_caller_s_transaction(
    caller: psycopg.Connection,
) -> None:
    def jobs() -> Iterator[NewJob]:
        yield from [NewJob(task="t")] * copy.COPY_JOBS
        raise LookupError("no more orders")

    with PgQueue() as app, pytest.raises(LookupError, match="no more orders"):
        app.using(caller).copy_jobs(jobs())
    assert count(caller) == copy.COPY_JOBS


def test_without_a_connection_it_is_all_or_nothing(
    app: PgQueue, connection: psycopg.Connection
) -> None:
    jobs = [*[NewJob(task="t")] * copy.COPY_JOBS, NewJob(task="t", priority=101)]
    with pytest.raises(InvalidJob):
        app.copy_jobs(jobs)
    assert count(connection) == 0


def test_other_callers_are_refused_with_a_way_out(app: PgQueue, dsn: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with engine.connect() as caller:
        with pytest.raises(TypeError, match=r"through psycopg alone, and got a sqlalchemy\..*many"):
            app.using(caller).copy_jobs(JOBS)
        driver: Any = caller.connection.driver_connection
        assert app.using(driver).copy_jobs(JOBS) == len(JOBS)
    engine.dispose()


def test_the_wrong_colour_names_the_right_call(app: PgQueue, dsn: str) -> None:
    async def produce() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as caller:
            with pytest.raises(TypeError, match="AsyncConnection: use acopy_jobs"):
                app.using(caller).copy_jobs(JOBS)

    asyncio.run(produce())


def test_options_of_a_call_are_refused(app: PgQueue) -> None:
    with pytest.raises(TypeError, match=r"copy_jobs takes complete jobs, so using\(queue\)"):
        app.using(queue="mail").copy_jobs(JOBS)


def test_what_the_database_refuses_is_explained(
    app: PgQueue, caller: psycopg.Connection, empty_dsn: str
) -> None:
    caller.execute("set transaction read only")
    with pytest.raises(TransactionUnusable, match="read-only"):
        app.using(caller).copy_jobs(JOBS)
    with pytest.raises(TransactionUnusable, match="aborted"):
        app.using(caller).copy_jobs(JOBS)
    caller.close()
    with pytest.raises(TransactionUnusable, match="closed"):
        app.using(caller).copy_jobs(JOBS)
    with PgQueue(empty_dsn) as nowhere, pytest.raises(SchemaError, match="pgqueue migrate"):
        nowhere.copy_jobs(JOBS)
