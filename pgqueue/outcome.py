"""How a lease ends: the values that executors hand back, and the rule that picks one. Pure.

The exchange writes them; nothing here touches a database or a clock.
"""

from __future__ import annotations

import dataclasses
import traceback as traceback_module
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from pgqueue import fingerprint
from pgqueue.errors import Cancel, Dead, InvalidPayload, PgQueueError, Retry, Snooze
from pgqueue.retry import clamp_delay

if TYPE_CHECKING:
    from pgqueue.job import ClaimedJob
    from pgqueue.retry import RetryRule

MAX_MESSAGE: Final = 10_000
MAX_TRACEBACK: Final = 50_000

HELD_BACK_FOR: Final = 30.0
"""Seconds until a job is due again that nobody here could read: somebody must deploy a key."""

CRASH_PAUSE: Final = 1.0
"""Seconds until a job is due again whose process died."""

Ending = Literal["retried", "dead", "cancelled", "expired", "interrupted"]


@dataclass(slots=True)
class Succeeded:
    """The handler returned; `result` is JSON text, or None for no result."""

    id: int
    lease: int
    result: str | None


@dataclass(slots=True)
class Ephemeral(Succeeded):
    """The handler of an ephemeral task returned: its success is recorded by deleting the job."""


@dataclass(slots=True)
class Unsuccessful:
    """Every other end. `state` is what the job becomes, `ending` what the attempt is kept as.

    `ending` None leaves no trace in `attempts`; `refund` 1 gives the attempt back; `crashed` 1
    blames the job for the death of its process. Without a `fingerprint` the table makes one of task
    and error type.
    """

    id: int
    lease: int
    state: Literal["ready", "dead", "cancelled", "expired"]
    delay: float = 0.0
    refund: int = 0
    ending: Ending | None = None
    error_type: str | None = None
    message: str | None = None
    traceback: str | None = None
    fingerprint: str | None = None
    crashed: int = 0


@dataclass(slots=True)
class Settled:
    """A transactional handler committed its success itself; there is nothing left to write."""

    id: int
    lease: int


@dataclass(slots=True)
class Lost:
    """A transactional handler found its lease ended by somebody else, and rolled back."""

    id: int
    lease: int


@dataclass(slots=True)
class Doubtful:
    """The COMMIT of a transactional handler got no answer; the table knows.

    `otherwise` is the outcome to record when the table says that nothing was committed.
    """

    id: int
    lease: int
    otherwise: Unsuccessful


Outcome = Succeeded | Ephemeral | Unsuccessful | Settled | Lost | Doubtful


class JobTimeout(PgQueueError):
    """The handler ran longer than the job's timeout. Recorded, never raised into a handler."""


class MemoryExceeded(PgQueueError):
    """The job's process had more memory than its task may. Recorded, never raised into a handler.

    There is nothing left to raise it into: the process was killed.
    """


class UnreadableError(PgQueueError):
    """The handler raised an error that raises when it is looked at. Recorded in its place."""


class AttemptCancelled(PgQueueError):
    """The attempt ended because somebody asked for it. Recorded, never raised into a handler."""


class HeldBack(PgQueueError):
    """This process cannot run the job now, through no fault of the job: another one may.

    Never raised into a handler; nothing of it is recorded, the worker tells of it.
    """


def release(job: ClaimedJob, *, delay: float = 0.0, reason: str | None = None) -> Unsuccessful:
    """The job goes back unstarted, at no cost, due again after `delay` seconds.

    A reason is for the worker to tell; without an `ending` the table keeps none.
    """
    return Unsuccessful(job.id, job.lease, "ready", delay=delay, refund=1, message=reason)


def expired(job: ClaimedJob) -> Unsuccessful:
    """The job was claimed after its expires_at."""
    return Unsuccessful(job.id, job.lease, "expired", refund=1, ending="expired")


def interrupted(job: ClaimedJob, reason: str, *, delay: float = 0.0) -> Unsuccessful:
    """The attempt was cut through no fault of the job: the attempt is given back."""
    return Unsuccessful(
        job.id,
        job.lease,
        "ready",
        delay=delay,
        refund=1,
        ending="interrupted",
        message=clean(reason),
    )


def crashed(job: ClaimedJob, reason: str, cap: int) -> Unsuccessful:
    """The job's own process died under it, so it alone is to blame: dead at the cap.

    Crashes have a budget of their own, so the attempt is given back.
    """
    crashes = job.crash_count + 1
    dead = crashes >= cap
    return Unsuccessful(
        job.id,
        job.lease,
        "dead" if dead else "ready",
        delay=CRASH_PAUSE,
        refund=1,
        ending="dead" if dead else "retried",
        error_type="crashed",
        message=clean(f"{reason} ({crashes} of {cap})"),
        crashed=1,
    )


def cancelled(job: ClaimedJob, reason: str) -> Unsuccessful:
    """The job is no longer wanted."""
    return Unsuccessful(
        job.id,
        job.lease,
        "cancelled",
        ending="cancelled",
        error_type=AttemptCancelled.__name__,
        message=clean(reason),
    )


def unwanted(done: Unsuccessful) -> Unsuccessful:
    """The same end of an attempt whose job somebody has cancelled meanwhile.

    The table would say so anyway; this way the log and the hooks say it too.
    """
    ending: Ending | None = "cancelled" if done.ending else None
    return dataclasses.replace(done, state="cancelled", ending=ending)


def decide(
    error: BaseException,
    job: ClaimedJob,
    retry: RetryRule,
    dead_on: tuple[type[BaseException], ...] = (),
) -> Unsuccessful:
    """What becomes of a job whose handler raised `error`.

    Args:
        error: what the handler raised, or JobTimeout.
        job: the attempt's job.
        retry: seconds to wait, by attempt; an error of its own makes the job dead, with both told.
        dead_on: exceptions that are never retried. A Retry that the handler raises outranks a
            class that merely covers it, such as Exception.
    """
    if isinstance(error, HeldBack):
        return release(job, delay=HELD_BACK_FOR, reason=clean(str(error)))
    if isinstance(error, Snooze):
        return _snoozed(error, job)
    if isinstance(error, Cancel):
        return cancelled(job, message_of(error) or "the handler cancelled it")
    if isinstance(error, Retry):
        dead_on = tuple(each for each in dead_on if issubclass(each, Retry))
    final = isinstance(error, (Dead, InvalidPayload, *dead_on))
    if final or job.attempt >= job.max_attempts:
        return _failed(error, job, "dead")
    return _retried(error, job, retry)


def _snoozed(error: Snooze, job: ClaimedJob) -> Unsuccessful:
    try:
        delay = clamp_delay(_seconds(error.after))
    except Exception as bad:  # noqa: BLE001 - `after` is whatever the handler passed
        return _failed(bad, job, "dead")
    return Unsuccessful(job.id, job.lease, "ready", delay=delay, refund=1)


def _retried(error: BaseException, job: ClaimedJob, retry: RetryRule) -> Unsuccessful:
    try:
        own = error.after if isinstance(error, Retry) else None
        delay = retry(job.attempt) if own is None else _seconds(own)
        delay = clamp_delay(float(delay))
    except Exception as bad:  # noqa: BLE001 - a retry rule is the user's code
        bad.add_note(f"raised by the retry rule, after {_type_name(error)}: {message_of(error)}")
        return _failed(bad, job, "dead")
    outcome = _failed(error, job, "ready")
    outcome.delay = delay
    return outcome


def _failed(error: BaseException, job: ClaimedJob, state: Literal["ready", "dead"]) -> Unsuccessful:
    error_type, message = _type_name(error), message_of(error)
    return Unsuccessful(
        job.id,
        job.lease,
        state,
        ending="retried" if state == "ready" else "dead",
        error_type=clean(error_type),
        message=clean(message),
        traceback=clean(_traceback(error), limit=MAX_TRACEBACK),
        fingerprint=fingerprint.of_error(job.task, error_type, error, message),
    )


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    plain = kind.__module__ in {"builtins", "pgqueue.errors", "pgqueue.outcome"}
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """What an error says; words in its place when that raises."""
    try:
        return str(error)
    except BaseException as bad:  # noqa: BLE001 - __str__ is the user's code
        return f"<no message: str() of the error raised {type(bad).__name__}>"


def _traceback(error: BaseException) -> str | None:
    # A word of control flow says what it means; where it was raised adds nothing.
    if isinstance(error, (Retry, Dead, JobTimeout, MemoryExceeded)):
        return None
    try:
        own = error.__traceback__.tb_next if error.__traceback__ else None
        lines = traceback_module.format_exception(type(error), error, own or error.__traceback__)
        return "".join(lines)
    except BaseException as bad:  # noqa: BLE001 - formatting calls the user's __str__
        return f"<no traceback: formatting it raised {type(bad).__name__}>"


def clean(text: str | None, *, limit: int = MAX_MESSAGE) -> str | None:
    """Text as PostgreSQL can hold it: no NUL, no lone surrogate, and its middle cut when long."""
    if text is None:
        return None
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"
