"""drain() and run_job() inside of a transaction that is rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.context import JobContext, current_job
from pgqueue.crypto import AesGcmCodec
from pgqueue.errors import TransactionEnded, UnknownTask
from pgqueue.outcome import HeldBack
from pgqueue.testing import JobTester
from tests.testing.shop import Shop, declare, paid

Conn = psycopg.Connection


def test_a_drain_runs_what_this_transaction_enqueued_and_what_that_enqueues(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    conn.execute("insert into orders values (7)")
    shop.charge.using(conn).enqueue(order_id=7)
    drained = jobs.drain()
    assert [(ran.task, ran.outcome) for ran in drained] == [
        ("shop.charge", "succeeded"),
        ("shop.note", "succeeded"),
    ]
    assert drained[1].result == "RECEIPT 7"
    assert paid(conn) == [7]
    assert [job.state for job in jobs.enqueued(states=["succeeded"])] == ["succeeded"] * 2


def test_nothing_is_left_when_the_transaction_rolls_back(
    jobs: JobTester, shop: Shop, conn: Conn, shared_dsn: str
) -> None:
    shop.note.using(conn).enqueue(word="a")
    assert len(jobs.drain()) == 1
    conn.rollback()
    with psycopg.connect(shared_dsn) as other:
        for table in ("jobs", "workers", "attempts"):
            assert other.execute(f"select count(*) from pgqueue.{table}".encode()).fetchone() == (
                0,
            )


def test_larger_priorities_run_first_and_equals_in_the_order_of_their_enqueue(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn, queue="b").enqueue(word="first")
    shop.note.using(conn, queue="a").enqueue(word="second")
    shop.note.using(conn, priority=5).enqueue(word="urgent")
    jobs.drain()
    assert shop.done == ["urgent", "first", "second"]


def test_only_the_queue_that_was_asked_for_is_drained(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn, queue="mail").enqueue(word="mail")
    shop.note.using(conn).enqueue(word="other")
    jobs.drain(queue="mail")
    assert shop.done == ["mail"]
    assert [job.args["word"] for job in jobs.enqueued()] == ["other"]


def test_a_handlers_error_is_raised_with_the_job_named_and_its_attempt_recorded(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.fail.using(conn).enqueue(message="no luck")
    shop.note.using(conn).enqueue(word="later")
    with pytest.raises(ValueError, match="no luck") as raised:
        jobs.drain()
    [note] = raised.value.__notes__
    assert "shop.fail(message='no luck')" in note
    assert "'retried'" in note
    assert shop.done == ["no luck"]
    [job] = jobs.enqueued(shop.fail)
    assert (job.state, job.attempt) == ("ready", 1)
    recorded = conn.execute("select outcome, error_type, message from pgqueue.attempts").fetchall()
    assert recorded == [("retried", "ValueError", "no luck")]


def test_a_drain_that_raises_nothing_records_errors_and_goes_on(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.fail.using(conn).enqueue(message="no luck")
    shop.note.using(conn).enqueue(word="later")
    drained = jobs.drain(raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 1}
    [failed] = drained.of(shop.fail)
    assert isinstance(failed.error, ValueError)
    assert failed.delay == 30


def test_with_scheduled_time_passes_until_delayed_jobs_and_retries_have_run(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn, delay=3600).enqueue(word="in an hour")
    shop.fail.using(conn).enqueue(message="x")
    assert len(jobs.drain(raises=False)) == 1
    drained = jobs.drain(raises=False, with_scheduled=True)
    assert [(ran.task, ran.outcome) for ran in drained] == [
        ("shop.fail", "retried"),
        ("shop.fail", "dead"),
        ("shop.note", "succeeded"),
    ]


def test_jobs_without_end_are_an_error_that_shows_the_last(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.say.using(conn).enqueue(what="snooze")
    with pytest.raises(AssertionError, match=r"3 attempts, and jobs are still due(.|\n)*shop\.say"):
        jobs.drain(with_scheduled=True, limit=3)


def test_words_of_control_flow_are_no_errors(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    for what in ("retry", "snooze", "dead", "cancel"):
        shop.say.using(conn).enqueue(what=what)
    ran = jobs.drain()
    assert [(each.outcome, each.state, each.delay) for each in ran] == [
        ("retried", "ready", 5),
        ("snoozed", "ready", 60),
        ("dead", "dead", 0),
        ("cancelled", "cancelled", 0),
    ]


def test_a_job_of_a_task_that_the_app_does_not_know_is_an_error_and_released(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn).enqueue(word="a")
    stranger = JobTester(PgQueue(), conn)
    with pytest.raises(UnknownTask, match=r"'shop\.note'.*import the module"):
        stranger.drain()
    assert jobs.enqueued()[0].attempt == 0
    jobs.age(60)
    assert stranger.drain(raises=False, with_scheduled=True).counts == {"released": 1}


def test_a_job_past_its_expires_at_is_not_run(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    row = conn.execute("select now() + interval '1 hour'").fetchone()
    assert row is not None
    shop.note.using(conn, expires_at=row[0]).enqueue(word="late")
    jobs.age(7200)
    assert jobs.drain().counts == {"expired": 1}
    assert shop.done == []


def test_a_transactional_task_that_fails_leaves_nothing_but_its_attempt(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    conn.execute("insert into orders values (7)")
    shop.charge.using(conn).enqueue(order_id=7, fails=True)
    with pytest.raises(ValueError, match="card refused"):
        jobs.drain()
    assert paid(conn) == []
    assert jobs.enqueued(shop.note) == []
    assert jobs.enqueued(shop.charge)[0].attempt == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transactional_handler_cannot_end_the_transaction_of_the_test(
    end: str, jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    @shop.app.task(name="ends", transactional=True)
    def ends(ctx: JobContext) -> None:
        ctx.connection.execute("insert into orders values (1)")
        with suppress(TransactionEnded):
            getattr(ctx.connection, end)()

    @shop.app.task(name="aends", transactional=True)
    async def aends(ctx: JobContext) -> None:
        await getattr(ctx.aconnection, end)()

    conn.execute("insert into orders values (7)")
    assert isinstance(jobs.run_job(ends).error, TransactionEnded)
    assert conn.execute("select id from orders").fetchall() == [(7,)]
    conn.rollback()
    assert conn.execute("select id from orders").fetchall() == []

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(conn.info.dsn) as caller:
            ran = await JobTester(shop.app, caller).arun_job(aends)
            assert isinstance(ran.error, TransactionEnded)
            await caller.rollback()

    asyncio.run(main())


def test_a_handler_that_breaks_the_transaction_is_undone_and_the_test_goes_on(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    def breaks() -> None:
        conn.execute("insert into orders values (1)")
        conn.execute("insert into orders values (1)")

    task = shop.app.task(name="breaks")(breaks)
    conn.execute("insert into orders values (7)")
    task.using(conn).enqueue()
    with pytest.raises(psycopg.errors.UniqueViolation):
        jobs.drain()
    assert conn.execute("select id from orders").fetchall() == [(7,)]
    assert jobs.enqueued(task)[0].attempt == 1


def test_what_a_plain_handler_wrote_before_it_raised_stays_as_in_production(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    def writes() -> None:
        conn.execute("insert into orders values (1)")
        raise ValueError

    shop.app.task(name="writes")(writes).using(conn).enqueue()
    jobs.drain(raises=False)
    assert conn.execute("select id from orders").fetchall() == [(1,)]


def test_async_handlers_run_and_know_their_job(jobs: JobTester, shop: Shop, conn: Conn) -> None:
    handle = shop.anote.using(conn).enqueue(word="a")
    assert jobs.drain()[0].result == handle.id
    with pytest.raises(LookupError):
        current_job()


def test_a_job_that_another_connection_has_locked_is_passed_over(
    shared_dsn: str, jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    with psycopg.connect(shared_dsn) as other:
        locked = shop.note.using(other).enqueue(word="locked")
        other.commit()
        other.execute("select from pgqueue.jobs where id = %s for update", [locked.id])
        shop.note.using(conn).enqueue(word="mine")
        assert len(jobs.drain()) == 1
        other.execute("delete from pgqueue.jobs")
    assert shop.done == ["mine"]


def test_run_job_says_how_one_attempt_ended(jobs: JobTester, shop: Shop) -> None:
    ran = jobs.run_job(shop.note, word="a")
    assert (ran.outcome, ran.result, ran.attempt) == ("succeeded", "A", 1)
    failed = jobs.run_job(shop.fail, "x")
    assert (failed.outcome, failed.state, failed.delay) == ("retried", "ready", 30)
    assert isinstance(failed.error, ValueError)
    last = jobs.run_job(shop.fail.using(max_attempts=1).job("x"))
    assert (last.outcome, last.state) == ("dead", "dead")


def test_run_job_runs_one_job_and_no_other_and_ignores_its_delay(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    shop.note.using(conn, priority=50).enqueue(word="other")
    assert jobs.run_job(shop.note.using(delay=60).job("a")).outcome == "succeeded"
    assert shop.done == ["a"]


def test_arguments_and_results_take_the_way_through_json(jobs: JobTester, shop: Shop) -> None:
    hostile = {
        "quote": "it's \\ 100% :name $1 %s %(x)s",
        "é": [1.5, None, True],
        "nested": {"a": []},
    }
    assert jobs.run_job(shop.echo, hostile).result == hostile
    assert jobs.run_job(shop.echo, (1, 2)).result == [1, 2]

    def bad() -> object:
        return object()

    dead = jobs.run_job(shop.app.task(name="bad")(bad))
    assert dead.outcome == "dead"
    assert "not JSON-serialisable" in str(dead.error)


def test_an_autocommit_connection_keeps_each_step_as_a_worker_does(
    connection: Conn, shop: Shop
) -> None:
    connection.execute("create table orders (id bigint primary key, paid boolean default false)")
    connection.execute("insert into orders values (1), (2)")
    jobs = JobTester(shop.app, connection)
    shop.charge.using(connection).enqueue(order_id=1)
    shop.charge.using(connection).enqueue(order_id=2, fails=True)
    assert jobs.drain(raises=False).counts == {"succeeded": 2, "retried": 1}
    assert paid(connection) == [1]
    assert connection.execute("select count(*) from pgqueue.workers").fetchone() == (0,)


def test_without_a_connection_jobs_run_on_the_apps_own(connection: Conn, dsn: str) -> None:
    connection.execute("create table orders (id bigint primary key, paid boolean default false)")
    connection.execute("insert into orders values (1), (2), (3)")
    with PgQueue(dsn) as app:
        shop = declare(app)
        jobs = JobTester(app)
        shop.charge.enqueue(order_id=1)
        shop.charge.enqueue(order_id=2, fails=True)
        shop.acharge.enqueue(order_id=3)
        drained = jobs.drain(raises=False)
    assert drained.counts == {"succeeded": 3, "retried": 1}
    assert paid(connection) == [1, 3]
    assert shop.done == ["receipt 1"]


def test_encrypted_arguments_are_opened_and_a_missing_key_is_an_error(conn: Conn) -> None:
    def note(word: str) -> str:
        return word

    def app_with(codec: AesGcmCodec | None) -> JobTester:
        app = PgQueue(codec=codec)
        app.task(name="note")(note)
        return JobTester(app, conn)

    jobs = app_with(AesGcmCodec({"k1": AesGcmCodec.generate_key()}))
    [task] = jobs.app.tasks.values()
    task.using(conn).enqueue(word="secret")
    jobs.assert_enqueued(task, "secret")
    with pytest.raises(HeldBack, match="this process has no codec"):
        app_with(None).drain()
    jobs.age(60)
    assert jobs.drain()[0].result == "secret"


def test_handlers_run_in_their_middleware_and_with_what_their_jobs_carry(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    shop.app.carry(tenant)

    @shop.app.middleware
    @contextmanager
    def note(context: JobContext) -> Iterator[None]:
        shop.done.append((context.task, tenant.get()))
        yield

    token = tenant.set("acme")
    shop.note.using(conn).enqueue("a")
    tenant.reset(token)
    assert len(jobs.enqueued()) == 1
    jobs.drain()
    assert shop.done == [("shop.note", "acme"), "a"]
    assert tenant.get(None) is None
