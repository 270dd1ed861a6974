"""What every kind of transactional task shares: the values of its finish, and how it may end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pgqueue import outcome
from pgqueue.errors import LeaseLost
from pgqueue.outcome import Doubtful, Lost, Outcome, Succeeded
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.worker.parts import Attempt

NO_CONNECTION_PAUSE: Final = 1.0
"""Seconds until a job is due again whose transaction found no connection."""


class NotSuccessful(Exception):
    """The handler returned what cannot be stored."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def values(attempt: Attempt, value: Any, settings: Settings) -> dict[str, Any]:
    """The parameters of finish_transactional.sql.

    Raises:
        NotSuccessful: the result cannot be stored.
    """
    done = execution.succeeded(attempt, value, settings)
    if not isinstance(done, Succeeded):
        raise NotSuccessful(done)
    return {"id": done.id, "lease": done.lease, "result": done.result}


def lease_lost(attempt: Attempt) -> LeaseLost:
    """What rolls back the transaction of an attempt that has lost its job."""
    return LeaseLost(f"job {attempt.job.id}: lease {attempt.job.lease} was lost")


def no_connection(attempt: Attempt, error: BaseException) -> Outcome:
    """The handler never started: the database is away, and that is no fault of the job."""
    return outcome.interrupted(
        attempt.job,
        f"no connection for its transaction: {type(error).__name__}: {error}",
        delay=NO_CONNECTION_PAUSE,
    )


def ended(attempt: Attempt, error: BaseException, *, committing: bool) -> Outcome | None:
    """The outcome of a transaction that raised; None for what its handler raised.

    Args:
        attempt: whose transaction it was.
        error: what was raised.
        committing: whether the COMMIT may have reached the server.
    """
    if isinstance(error, NotSuccessful):
        return error.outcome
    if isinstance(error, LeaseLost):
        return Lost(*attempt.key)
    if committing:
        otherwise = execution.cut(attempt) if attempt.why else execution.failed(attempt, error)
        return Doubtful(*attempt.key, otherwise)
    return None
