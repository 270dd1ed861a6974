"""Every exception that pgqueue raises, in one tree.

PgQueueError
├── EnqueueError              the job was not enqueued
│   ├── InvalidJob            a job, or one of its options, is not acceptable (also a ValueError)
│   │   ├── InvalidName       a task, queue or key that breaks the naming rule
│   │   └── InvalidPayload    arguments or a result that JSON cannot hold
│   │       └── PayloadTooLarge
│   ├── UnknownTask           a function or name that is not registered (also a LookupError)
│   ├── AlreadyEnqueued       another job holds the key, and on_conflict is "raise"
│   ├── QueueFull             the queue has reached its max_depth
│   └── TransactionUnusable   the caller's transaction is aborted, read-only, closed, or missing
├── KeyMissing                this process lacks the key that a payload was encrypted with
├── ConfigError               a setting that cannot work (also a ValueError)
├── ConnectionFailed          the database does not answer
├── SchemaError               the schema is missing, behind, or newer than this version supports
├── JobNotFound               no job has that id (also a LookupError)
├── JobFailed                 the job that was waited for ended without success
├── WaitTimeout               it has not ended in the time given (also a TimeoutError)
├── JobConflict               the job's state, or another job that holds its key, forbids it
├── LeaseLost                 another worker holds this job now; what was written is rolled back
├── StepError                 a step or an effect that cannot be run as asked (also a ValueError)
├── TransactionEnded          a handler committed or rolled back its job's own transaction
└── EmbeddedError             the embedded server cannot be started or stopped

Control flow, raised by handlers (not errors, so not in the tree): Retry, Snooze, Dead, Cancel.
EffectBusy is a Snooze that `once` raises in a handler, when another job is at it for too long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta


class PgQueueError(Exception):
    """The root of everything that pgqueue raises."""


class EnqueueError(PgQueueError):
    """The job was not enqueued.

    What Python refuses, it refuses before any SQL, and the caller's transaction goes on. What only
    the database can refuse (a missing schema or right, a read-only transaction, an expires_at that
    is over) has aborted that transaction, like any failed statement.
    """


class InvalidJob(EnqueueError, ValueError):
    """A job, or one of its options, is not acceptable; the message names path, value and limit."""


class InvalidName(InvalidJob):
    """A task, queue or key that breaks the naming rule."""


class InvalidPayload(InvalidJob):
    """Arguments or a result that JSON cannot hold; the message names the path to the value."""


class PayloadTooLarge(InvalidPayload):
    """Arguments or a result above the size limit: store the data, pass its id."""


class KeyMissing(PgQueueError):
    """This process lacks the key that a payload was encrypted with; nothing is lost by that."""


class UnknownTask(EnqueueError, LookupError):
    """A function or a name that is not registered as a task."""


class AlreadyEnqueued(EnqueueError):
    """Another job holds the key, and `on_conflict` is "raise".

    Raised from the answer: the transaction goes on. Jobs that the same call enqueued before are in
    it; roll back, if they are not wanted.

    Attributes:
        id: the job that holds the key.
    """

    def __init__(self, message: str, id: int | None = None) -> None:
        super().__init__(message)
        named = re.search(r"job (\d+)", message)
        self.id = id if id is not None or named is None else int(named[1])


class QueueFull(EnqueueError):
    """The queue has reached its `max_depth`, and takes no new job until workers have made room.

    The database refused it, so the caller's transaction is aborted, like by any failed statement.

    Attributes:
        queue: the queue's name.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        named = re.search(r'queue "([^"]+)"', message)
        self.queue = named[1] if named else ""


class TransactionUnusable(EnqueueError):
    """The caller's transaction is aborted or read-only, its connection is closed, or it has none.

    None at all is refused only where `require_transaction` is set.
    """


class ConfigError(PgQueueError, ValueError):
    """A setting that cannot work; the message names the setting, its value and the rule."""


class ConnectionFailed(PgQueueError):
    """The database does not answer; the message names the host, never the password."""


class SchemaError(PgQueueError):
    """The schema is missing, behind, or newer than this version supports."""


class JobNotFound(PgQueueError, LookupError):
    """No job has that id: it never existed, was rolled back, or was deleted."""


class JobFailed(PgQueueError):
    """The job that was waited for is dead, cancelled or expired.

    What its last attempt raised is told as text, as it was recorded; it is never raised again.

    Attributes:
        id: the job's id.
        task: its task's name.
        state: "dead", "cancelled" or "expired".
        error_type, message, traceback: of the last attempt, as far as there are any.
    """

    def __init__(  # noqa: PLR0917 - positional, so that it can be copied and pickled
        self,
        id: int,
        task: str,
        state: str,
        error_type: str | None = None,
        message: str | None = None,
        traceback: str | None = None,
    ) -> None:
        super().__init__(id, task, state, error_type, message, traceback)
        self.id, self.task, self.state = id, task, state
        self.error_type, self.message, self.traceback = error_type, message, traceback

    def __str__(self) -> str:
        reason = ": ".join(part for part in (self.error_type, self.message) if part)
        return f"job {self.id} ({self.task}) is {self.state}" + (f": {reason}" if reason else "")


class WaitTimeout(PgQueueError, TimeoutError):
    """A job that was waited for has not ended in the time given; nothing happened to it.

    Attributes:
        ids: the jobs that have not ended.
    """

    def __init__(self, message: str, ids: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class JobConflict(PgQueueError):
    """The job's state, or another job that holds its key, forbids what was asked."""


class LeaseLost(PgQueueError):
    """Another worker holds this job now; what this attempt wrote is rolled back."""


class StepError(PgQueueError, ValueError):
    """A step or an effect that cannot be run as asked: its name, key, or one of its times."""


class TransactionEnded(PgQueueError):
    """A handler committed or rolled back its job's own transaction, which only the worker may."""


class EmbeddedError(PgQueueError):
    """The embedded server cannot be started or stopped."""


class ControlFlow(Exception):
    """What a handler raises to say how its attempt ends."""


class Retry(ControlFlow):
    """Raised by a handler: this attempt failed, try again.

    Args:
        reason: kept with the attempt.
        after: seconds, or a timedelta, until the next attempt; None takes the task's retry rule.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Snooze(ControlFlow):
    """Raised by a handler: not now; run again later, and no attempt is spent.

    Args:
        after: seconds, or a timedelta, until the job is due again.
    """

    def __init__(self, after: float | timedelta) -> None:
        super().__init__(after)
        self.after = after


class EffectBusy(Snooze):
    """Raised by `once` in a handler: another job was at the effect for as long as it may wait.

    Left alone it is a Snooze: the job comes back later, and no attempt is spent.

    Args:
        after: seconds until the job is due again.
        reason: which effect, and whose.
    """

    def __init__(self, after: float, reason: str) -> None:
        super().__init__(after)
        self.args = (reason,)


class Dead(ControlFlow):
    """Raised by a handler: no retry can help; the job goes to the dead state now.

    Args:
        reason: kept with the attempt.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Cancel(ControlFlow):
    """Raised by a handler: the job is no longer wanted; it becomes cancelled.

    Args:
        reason: kept with the attempt.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
