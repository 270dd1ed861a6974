"""One attempt of a handler in this process: prepared, run and judged by the code of workers.

Timeouts are not enforced, and no handler runs in a child process: a test may stop in a debugger.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from pgqueue.context import enter_job
from pgqueue.outcome import Settled, Succeeded, Unsuccessful
from pgqueue.testing.async_hosts import WrappedHost, own_async_host
from pgqueue.testing.hosts import OwnHost
from pgqueue.testing.judging import Performed, failed, finish, judged, settled
from pgqueue.testing.keeping import async_keeper_of, keeper_of
from pgqueue.testing.lending import alend, lend
from pgqueue.testing.own import aperform_on_own, perform_on_own
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.testing.async_hosts import AsyncHost
    from pgqueue.testing.hosts import Host
    from pgqueue.testing.lending import Loan
    from pgqueue.worker.parts import Attempt


def perform(app: PgQueue, host: Host, attempt: Attempt) -> Performed:
    """Run an attempt through a synchronous connection."""
    transactional = bool(attempt.task.transactional)
    attempt.keeper = keeper = keeper_of(app, host)
    if transactional and isinstance(host, OwnHost):
        if attempt.task.transactional is not True:
            return perform_on_own(app, host, attempt)
        if attempt.task.is_async:
            own: Performed = host.complete(_on_own(app, attempt))
            return own
    token, undo, loan = host.begin(transactional=transactional), True, None
    try:
        loan = lend(attempt, host) if transactional else None
        done = contextvars.copy_context().run(_call, app, host, attempt)
        if loan is not None and isinstance(done.outcome, Succeeded):
            done = _finished(attempt, done.outcome, host, loan)
        undo = transactional and not isinstance(done.outcome, Settled)
    finally:
        if loan is not None:
            loan.end()
        host.end(token, undo=undo)
    if isinstance(done.outcome, Unsuccessful):
        for sql in keeper.kept:
            host.rows(sql)
    return done


async def aperform(app: PgQueue, host: AsyncHost, attempt: Attempt) -> Performed:
    """As `perform`, on an event loop; a plain handler runs in a thread, as in a worker."""
    transactional = bool(attempt.task.transactional)
    attempt.keeper = keeper = async_keeper_of(app, host)
    if transactional and isinstance(host, WrappedHost) and isinstance(host.host, OwnHost):
        if attempt.task.transactional is not True:
            return await aperform_on_own(app, host.host, attempt)
        if attempt.task.is_async:
            return await _on_own(app, attempt)
    token, undo, loan = await host.begin(transactional=transactional), True, None
    try:
        loan = await alend(attempt, host) if transactional else None
        context = contextvars.copy_context()
        done = await asyncio.create_task(_acall(app, attempt), context=context)
        if loan is not None and isinstance(done.outcome, Succeeded):
            done = await _afinished(attempt, done.outcome, host, loan)
        undo = transactional and not isinstance(done.outcome, Settled)
    finally:
        if loan is not None:
            await host.inside(loan.end)
        await host.end(token, undo=undo)
    if isinstance(done.outcome, Unsuccessful):
        for sql in keeper.kept:
            await host.rows(sql)
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
        return judged(app, attempt, value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return failed(attempt, error)


async def _acall(app: PgQueue, attempt: Attempt) -> Performed:
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        if not attempt.task.is_async:
            return await asyncio.to_thread(_called, app, attempt, args)
        return judged(app, attempt, await attempt.call(args))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return failed(attempt, error)


def _called(app: PgQueue, attempt: Attempt, args: dict[str, Any]) -> Performed:
    try:
        return judged(app, attempt, attempt.call(args))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return failed(attempt, error)


def _finished(attempt: Attempt, done: Succeeded, host: Host, loan: Loan) -> Performed:
    """Finish the job in the handler's transaction; what the database refuses, the handler did."""
    try:
        loan.finish()
        rows = host.rows(finish(attempt, done).sql)
        loan.commit()
    except Exception as error:  # noqa: BLE001 - drivers have many
        return failed(attempt, error)
    return settled(attempt, rows)


async def _afinished(attempt: Attempt, done: Succeeded, host: AsyncHost, loan: Loan) -> Performed:
    try:
        await host.inside(loan.finish)
        rows = await host.rows(finish(attempt, done).sql)
        await host.inside(loan.commit)
    except Exception as error:  # noqa: BLE001 - as above
        return failed(attempt, error)
    return settled(attempt, rows)
