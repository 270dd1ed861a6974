"""One attempt of a handler on this thread: prepared, run and judged by the code of workers.

Timeouts are not enforced, and every handler runs in this process: a test may stop in a debugger.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from pgqueue import outcome
from pgqueue.context import enter_job
from pgqueue.errors import LeaseLost
from pgqueue.outcome import Lost, Settled, Succeeded
from pgqueue.testing.asking import ask
from pgqueue.testing.async_hosts import own_async_host
from pgqueue.testing.hosts import OwnHost
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.outcome import Outcome
    from pgqueue.testing.asking import Ask
    from pgqueue.testing.async_hosts import AsyncHost
    from pgqueue.testing.hosts import Driver, Host
    from pgqueue.worker.parts import Attempt


class Performed(NamedTuple):
    """What came of an attempt: its outcome, and the error that the handler raised."""

    outcome: Outcome
    error: BaseException | None = None


def perform(app: PgQueue, host: Host, attempt: Attempt) -> Performed:
    """Run an attempt through a synchronous connection."""
    transactional = bool(attempt.task.transactional)
    if transactional and attempt.task.is_async and isinstance(host, OwnHost):
        done: Performed = host.complete(_on_own(app, attempt))
        return done
    token, undo = host.begin(transactional=transactional), True
    try:
        if transactional:
            _lend(attempt, host.driver())
        done = contextvars.copy_context().run(_call, app, host, attempt)
        if transactional and isinstance(done.outcome, Succeeded):
            done = _settled(attempt, host.rows(_finish(done.outcome).sql))
        undo = transactional and not isinstance(done.outcome, Settled)
    finally:
        _take_back(attempt)
        host.end(token, undo=undo)
    return done


async def aperform(app: PgQueue, host: AsyncHost, attempt: Attempt) -> Performed:
    """As `perform`, on an event loop; a plain handler runs on it too, and blocks it."""
    transactional = bool(attempt.task.transactional)
    token, undo = await host.begin(transactional=transactional), True
    try:
        if transactional:
            _lend(attempt, await host.driver())
        context = contextvars.copy_context()
        done = await asyncio.create_task(_acall(app, attempt), context=context)
        if transactional and isinstance(done.outcome, Succeeded):
            done = _settled(attempt, await host.rows(_finish(done.outcome).sql))
        undo = transactional and not isinstance(done.outcome, Settled)
    finally:
        _take_back(attempt)
        await host.end(token, undo=undo)
    return done


async def _on_own(app: PgQueue, attempt: Attempt) -> Performed:
    async with own_async_host(app) as host:
        return await aperform(app, host, attempt)


def _call(app: PgQueue, host: Host, attempt: Attempt) -> Performed:
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        value = attempt.call(args)
        if attempt.task.is_async:
            value = host.complete(value)
        return _judged(app, attempt, value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return _failed(attempt, error)


async def _acall(app: PgQueue, attempt: Attempt) -> Performed:
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        value = attempt.call(args)
        return _judged(app, attempt, await value if attempt.task.is_async else value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return _failed(attempt, error)


def _judged(app: PgQueue, attempt: Attempt, value: Any) -> Performed:
    done = execution.succeeded(attempt, value, app.settings)
    if isinstance(done, outcome.Unsuccessful):
        return Performed(done, TypeError(done.message or "the result cannot be stored"))
    return Performed(done)


def _failed(attempt: Attempt, error: BaseException) -> Performed:
    return Performed(execution.failed(attempt, error), error)


def _finish(done: Succeeded) -> Ask:
    return ask("finish_transactional", id=done.id, lease=done.lease, result=done.result)


def _settled(attempt: Attempt, rows: list[Any]) -> Performed:
    job = attempt.job
    if rows:
        return Performed(Settled(job.id, job.lease))
    lost = LeaseLost(f"job {job.id}: its lease {job.lease} was ended while its handler ran")
    return Performed(Lost(job.id, job.lease), lost)


def _lend(attempt: Attempt, driver: Driver | None) -> None:
    """Give a transactional handler the connection that it will ask its context for."""
    if attempt.task.transactional is not True:
        raise TypeError(
            f"{attempt.task.name} is transactional={attempt.task.transactional!r}: JobTester runs "
            "transactional=True alone; test what the handler does by a call of it, with a session"
        )
    wanted = psycopg.AsyncConnection if attempt.task.is_async else psycopg.Connection
    if not isinstance(driver, wanted):
        kind = "an async def" if attempt.task.is_async else "a plain def"
        has = type(driver).__name__ if driver is not None else "none"
        raise TypeError(
            f"{attempt.task.name} is {kind} task with transactional=True, whose context gives a "
            f"psycopg {wanted.__name__}; the connection of this test leads to {has}: test it "
            f"through one that leads to a psycopg {wanted.__name__}, or without a connection"
        )
    context = attempt.context()
    if isinstance(driver, psycopg.AsyncConnection):
        context.async_connection = driver
    else:
        context.sync_connection = driver


def _take_back(attempt: Attempt) -> None:
    context = attempt.context()
    context.sync_connection = context.async_connection = None
