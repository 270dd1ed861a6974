"""Runs one attempt of a plain `def` handler: in a thread of the worker, or in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgqueue.context import enter_job
from pgqueue.worker import execution

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.outcome import Outcome
    from pgqueue.worker.parts import Attempt
    from pgqueue.worker.transactions import Transactions


def run(attempt: Attempt, settings: Settings, transactions: Transactions) -> Outcome:
    """Run one attempt to its outcome; nothing that a handler does escapes from here.

    Args:
        attempt: which.
        settings: gives the limit of results.
        transactions: opens the connections of transactional tasks.
    """
    try:
        args = execution.prepare(attempt)
        enter_job(attempt.context)
        if attempt.task.transactional:
            return transactions.run(attempt, args)
        return execution.succeeded(attempt, attempt.call(args), settings)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a handler is its own
        return _raised(attempt, error)


def _raised(attempt: Attempt, error: BaseException) -> Outcome:
    obeyed = attempt.why is not None and not isinstance(error, Exception)
    return execution.cut(attempt) if obeyed else execution.failed(attempt, error)
