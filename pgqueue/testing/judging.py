"""What came of an attempt: its outcome, by the rules of workers, and the error behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pgqueue.errors import LeaseLost
from pgqueue.outcome import Lost, Outcome, Settled, Succeeded, Unsuccessful
from pgqueue.testing.asking import ask
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.testing.asking import Ask
    from pgqueue.worker.parts import Attempt


class Performed(NamedTuple):
    """What came of an attempt: its outcome, and the error that the handler raised."""

    outcome: Outcome
    error: BaseException | None = None


def judged(app: PgQueue, attempt: Attempt, value: Any) -> Performed:
    """Of a handler that returned."""
    done = execution.succeeded(attempt, value, app.settings)
    return not_storable(done) if isinstance(done, Unsuccessful) else Performed(done)


def failed(attempt: Attempt, error: BaseException) -> Performed:
    """Of a handler that raised."""
    return Performed(execution.failed(attempt, error), error)


def not_storable(done: Unsuccessful) -> Performed:
    """Of a handler that returned what JSON cannot hold."""
    return Performed(done, TypeError(done.message or "the result cannot be stored"))


def finish(attempt: Attempt, done: Succeeded) -> Ask:
    """The finish of a transactional task, in its transaction."""
    name = execution.finish_statement(attempt)
    return ask(name, id=done.id, lease=done.lease, result=done.result)


def settled(attempt: Attempt, rows: list[Any]) -> Performed:
    """What that finish has come to."""
    job = attempt.job
    if rows:
        return Performed(Settled(job.id, job.lease))
    lost = LeaseLost(f"job {job.id}: its lease {job.lease} was ended while its handler ran")
    return Performed(Lost(job.id, job.lease), lost)
