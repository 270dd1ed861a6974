"""A framework task whose ORM writes and whose success are one commit.

As in worker/transactions.py, and with the same fence: the handler runs first and holds no lock on
its job; then the job is finished under its lease in the same transaction, which is Django's. If
the lease was lost no row comes back, and all of it rolls back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, connections, transaction

from pgqueue import payload, store
from pgqueue.errors import LeaseLost
from pgqueue.outcome import Doubtful, Settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.config import Settings
    from pgqueue.context import JobContext
    from pgqueue.outcome import Unsuccessful


def run(
    alias: str,
    context: JobContext,
    settings: Settings,
    work: Callable[[], Any],
    *,
    otherwise: Callable[[BaseException], Unsuccessful],
) -> Settled | Doubtful:
    """Run a handler in an atomic block, and finish its job there.

    Args:
        alias: the database that holds the jobs.
        context: the running job.
        settings: give the time limits of the finish, and the largest result.
        work: the handler; returns the result.
        otherwise: the outcome of an error, for a commit without an answer that did not happen.

    Raises:
        LeaseLost: the job belongs to somebody else by now; what the handler wrote is gone.
        Whatever `work` raises; what it wrote is gone then, too.
    """
    committing = False
    try:
        with transaction.atomic(using=alias, durable=True):
            _finish(alias, context, settings, work())
            committing = True
    except (OperationalError, InterfaceError) as error:
        if not committing:
            raise
        return Doubtful(context.id, context.lease, otherwise(error))
    return Settled(context.id, context.lease)


def _finish(alias: str, context: JobContext, settings: Settings, value: Any) -> None:
    wrapper = connections[alias]
    wrapper.validate_no_broken_transaction()
    limit = settings.max_result
    result = None if value is None else payload.encode_result(value, limit=limit)
    with wrapper.wrap_database_errors:
        store.execute(wrapper.connection, "limits", store.limits(settings))
        values = {"id": context.id, "lease": context.lease, "result": result}
        cursor = store.execute(wrapper.connection, "finish_transactional", values)
        if cursor.fetchone() is None:
            raise LeaseLost(f"job {context.id}: lease {context.lease} was lost")
