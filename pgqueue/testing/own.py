"""Transactional tasks on SQLAlchemy without a connection of the test's: as a worker runs them."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from pgqueue.context import enter_job
from pgqueue.errors import ConnectionFailed
from pgqueue.outcome import Doubtful, Unsuccessful
from pgqueue.store import array
from pgqueue.testing.asking import ask
from pgqueue.testing.judging import Performed, failed, not_storable
from pgqueue.worker import execution
from pgqueue.worker.sessions import AsyncSessions, Sessions

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.outcome import Outcome
    from pgqueue.testing.hosts import OwnHost
    from pgqueue.worker.parts import Attempt


def perform_on_own(app: PgQueue, host: OwnHost, attempt: Attempt) -> Performed:
    """Run a handler on a session of the app's, which commits."""
    if attempt.task.is_async:
        done: Performed = host.complete(_acall(app, attempt))
    else:
        done = contextvars.copy_context().run(_call, app, attempt)
    return _certain(host, done)


async def aperform_on_own(app: PgQueue, host: OwnHost, attempt: Attempt) -> Performed:
    """As `perform_on_own`, on an event loop."""
    if not attempt.task.is_async:
        return perform_on_own(app, host, attempt)
    return _certain(host, await _acall(app, attempt))


def _call(app: PgQueue, attempt: Attempt) -> Performed:
    own = Sessions(app.dsn, app.settings, 1)
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        return _told(own.run(attempt, args))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return failed(attempt, error)
    finally:
        own.close()


async def _acall(app: PgQueue, attempt: Attempt) -> Performed:
    own = AsyncSessions(app.dsn, app.settings, 1)
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        return _told(await own.run(attempt, args))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded as a worker does
        return failed(attempt, error)
    finally:
        await own.aclose()


def _told(done: Outcome) -> Performed:
    if not isinstance(done, Unsuccessful):
        return Performed(done)
    if done.ending == "interrupted":
        return Performed(done, ConnectionFailed(done.message or "no connection"))
    return not_storable(done)


def _certain(host: OwnHost, done: Performed) -> Performed:
    """What became of a COMMIT that raised: the table knows."""
    if not isinstance(done.outcome, Doubtful):
        return done
    key = done.outcome.id, done.outcome.lease
    rows: list[Any] = host.rows(ask("settle", ids=array(key[:1]), leases=array(key[1:])).sql)
    if rows and rows[0][2] == "mine":
        otherwise = done.outcome.otherwise
        return Performed(otherwise, RuntimeError(otherwise.message))
    return done
