"""Steps and effects in a test: kept in its transaction, over attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from pgqueue.context import JobContext
from pgqueue.crypto import AesGcmCodec
from pgqueue.errors import StepError
from pgqueue.testing import JobTester
from tests.testing.shop import Shop
from tests.testing.test_hosts import ASYNC, SYNC

Conn = psycopg.Connection


def declare_ship(shop: Shop, fails: int = 1) -> Any:
    """A task of two steps and an effect that fails in its first attempts; `done` notes calls."""
    done = shop.done

    def reserve(number: int) -> dict[str, int]:
        done.append("reserve")
        return {"reservation": number}

    def pay(number: int) -> int:
        done.append("pay")
        if done.count("pay") <= fails:
            raise ValueError("no bank")
        return number

    @shop.app.task(name="ship")
    def ship(ctx: JobContext, number: int) -> list[Any]:
        return [
            ctx.step("reserve", reserve, number),
            ctx.once(f"pay-{number}", pay, number, scope="pay"),
            ctx.token("mail"),
        ]

    @shop.app.task(name="aship")
    async def aship(ctx: JobContext, number: int) -> list[Any]:
        return [
            await ctx.astep("reserve", reserve, number),
            await ctx.aonce(f"pay-{number}", pay, number, scope="pay"),
            ctx.token("mail"),
        ]

    return ship, aship


@pytest.mark.parametrize("which", [0, 1])
def test_a_retry_goes_on_where_the_last_attempt_stopped(
    which: int, jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    task = declare_ship(shop)[which]
    handle = task.using(conn).enqueue(17)
    drained = jobs.drain(with_scheduled=True, raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 1}
    assert drained[1].result == [{"reservation": 17}, 17, f"pgqueue-{handle.id}-mail"]
    assert shop.done == ["reserve", "pay", "pay"]


def test_an_effect_happens_once_for_all_jobs_until_its_time_is_over(
    jobs: JobTester, shop: Shop
) -> None:
    @shop.app.task(name="charge_once")
    def charge_once(ctx: JobContext) -> None:
        ctx.once("k", shop.done.append, "charged", keep=60)

    for _ in range(2):
        assert jobs.run_job(charge_once).outcome == "succeeded"
    assert shop.done == ["charged"]
    jobs.age(61)
    jobs.run_job(charge_once)
    assert shop.done == ["charged"] * 2


@pytest.mark.parametrize("kind", SYNC)
def test_through_every_synchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    ship, aship = declare_ship(shop)
    with SYNC[kind](shared_dsn) as caller:
        jobs = JobTester(shop.app, caller)
        ship.using(caller).enqueue(1)
        aship.using(caller).enqueue(2)
        drained = jobs.drain(with_scheduled=True, raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 2}
    assert [shop.done.count(word) for word in ("reserve", "pay")] == [2, 3]


@pytest.mark.parametrize("kind", ASYNC)
def test_through_every_asynchronous_connection(kind: str, shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        ship, aship = declare_ship(shop)
        async with ASYNC[kind](shared_dsn) as caller:
            jobs = JobTester(shop.app, caller)
            await ship.using(caller).aenqueue(1)
            await aship.using(caller).aenqueue(2)
            drained = await jobs.adrain(with_scheduled=True, raises=False)
        assert drained.counts == {"retried": 1, "succeeded": 2}

    asyncio.run(main())
    assert [shop.done.count(word) for word in ("reserve", "pay")] == [2, 3]


def test_what_a_step_has_kept_outlives_an_attempt_that_is_undone(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    """In a worker it is committed by then, whatever the handler does to its transaction."""

    @shop.app.task(name="breaks")
    def breaks(ctx: JobContext) -> None:
        ctx.step("first", shop.done.append, "first")
        ctx.once("second", shop.done.append, "second")
        if ctx.attempt == 1:
            conn.execute("insert into orders values (1), (1)")

    breaks.using(conn).enqueue()
    drained = jobs.drain(with_scheduled=True, raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 1}
    assert isinstance(drained[0].error, psycopg.errors.UniqueViolation)
    assert shop.done == ["first", "second"]


def test_so_it_does_when_a_coroutine_is_undone(shop: Shop, shared_dsn: str) -> None:
    async def main() -> None:
        async with ASYNC["session on asyncpg"](shared_dsn) as session:

            @shop.app.task(name="breaks")
            async def breaks(ctx: JobContext) -> None:
                await ctx.astep("first", shop.done.append, "first")
                if ctx.attempt == 1:
                    await session.execute(text("insert into orders values (1), (1)"))

            await breaks.using(session).aenqueue()
            jobs = JobTester(shop.app, session)
            drained = await jobs.adrain(with_scheduled=True, raises=False)
            assert drained.counts == {"retried": 1, "succeeded": 1}

    asyncio.run(main())
    assert shop.done == ["first"]


def test_what_happens_once_in_a_transactional_task_is_undone_with_it(
    jobs: JobTester, shop: Shop, conn: Conn
) -> None:
    @shop.app.task(name="pay", transactional=True)
    def pay(ctx: JobContext) -> None:
        ctx.once("pay", ctx.connection.execute(b"insert into orders values (1)").close)
        ctx.step("after", shop.done.append, ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("card refused")

    pay.using(conn).enqueue()
    drained = jobs.drain(with_scheduled=True, raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 1}
    assert shop.done == [1, 2]
    assert conn.execute("select count(*) from orders").fetchone() == (1,)
    assert conn.execute("select lease from pgqueue.effects").fetchall() == [(3,)]


def test_on_a_session_too(shop: Shop, shared_dsn: str) -> None:
    @shop.app.task(name="pay", transactional="session")
    def pay(ctx: JobContext) -> str:
        ctx.once("pay", shop.done.append, "pay")
        return ctx.step("after", str.upper, "after")

    with SYNC["session"](shared_dsn) as session:
        jobs = JobTester(shop.app, session)
        assert [jobs.run_job(pay).result for _ in range(2)] == ["AFTER", "AFTER"]
    assert shop.done == ["pay"]


def test_without_a_connection_they_are_committed(dsn: str, shop: Shop) -> None:
    with type(shop.app)(dsn) as app:
        own = Shop(app, {}, shop.done)
        ship, aship = declare_ship(own)
        ship.enqueue(1)
        aship.enqueue(2)
        drained = JobTester(app).drain(with_scheduled=True, raises=False)
    assert drained.counts == {"retried": 1, "succeeded": 2}
    assert [shop.done.count(word) for word in ("reserve", "pay")] == [2, 3]


def test_results_are_sealed_where_the_app_has_a_codec(conn: Conn, shop: Shop) -> None:
    app = type(shop.app)(codec=AesGcmCodec({"k1": AesGcmCodec.generate_key()}))

    @app.task(name="seals")
    def seals(ctx: JobContext) -> str:
        return ctx.step("first", str.upper, "secret")

    assert JobTester(app, conn).run_job(seals).result == "SECRET"
    [(kept,)] = conn.execute("select result::text from pgqueue.checkpoints").fetchall()
    assert "SECRET" not in kept


def test_a_name_that_comes_twice_is_an_error_as_ever(jobs: JobTester, shop: Shop) -> None:
    @shop.app.task(name="twice")
    def twice(ctx: JobContext) -> None:
        for word in ("a", "b"):
            ctx.step("same", shop.done.append, word)

    assert isinstance(jobs.run_job(twice).error, StepError)
    assert shop.done == ["a"]
