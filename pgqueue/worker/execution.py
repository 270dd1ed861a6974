"""What every executor does with an attempt: from stored arguments to an outcome. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pgqueue import outcome, payload
from pgqueue.errors import InvalidPayload
from pgqueue.outcome import JobTimeout, Succeeded, Unsuccessful

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.worker.parts import Attempt


def prepare(attempt: Attempt) -> dict[str, Any]:
    """The arguments of an attempt, decoded and checked.

    Raises:
        InvalidPayload: what is stored cannot be decoded, or the handler does not take it.
    """
    job = attempt.job
    args = payload.decode(job.args)
    if not isinstance(args, dict):
        raise InvalidPayload(f"args of job {job.id} are a {type(args).__name__}, not an object")
    if job.meta != "{}":
        attempt.meta = payload.decode(job.meta)
    _check_parameters(attempt, args)
    return args


def _check_parameters(attempt: Attempt, args: dict[str, Any]) -> None:
    names = args.keys()
    required, accepted = attempt.task.required, attempt.task.accepted
    if names == required or required <= names <= accepted:
        return
    try:
        attempt.task.bind((), args)
    except TypeError as error:
        raise InvalidPayload(f"stored arguments do not fit: {error}") from None


_ENDED: Final = (outcome.Settled, outcome.Doubtful)


def succeeded(
    attempt: Attempt, value: Any, settings: Settings
) -> Succeeded | Unsuccessful | outcome.Settled | outcome.Doubtful:
    """The outcome of a handler that returned; a result that JSON cannot hold makes it dead.

    A handler that finished its own job, in a transaction that the worker does not know, returns
    the outcome itself.
    """
    if value is None:
        return Succeeded(attempt.job.id, attempt.job.lease, None)
    if isinstance(value, _ENDED):
        return value
    try:
        result = payload.encode_result(value, limit=settings.max_payload)
    except Exception as error:  # noqa: BLE001 - encoding may call into the value's own code
        return failed(attempt, error)
    return Succeeded(attempt.job.id, attempt.job.lease, result)


def failed(attempt: Attempt, error: BaseException) -> Unsuccessful:
    """The outcome of a handler that raised."""
    return outcome.decide(error, attempt.job, attempt.task.retry, attempt.task.dead_on)


def cut(attempt: Attempt) -> Unsuccessful:
    """The outcome of an attempt that was ended from outside, for the reason kept in `why`."""
    if attempt.why == "cancel":
        return outcome.cancelled(attempt.job, "cancel was requested")
    if attempt.why == "timeout":
        return failed(attempt, JobTimeout(f"ran longer than {attempt.job.timeout:g} s"))
    if not attempt.started:
        return outcome.release(attempt.job)
    return outcome.interrupted(attempt.job, "the worker stopped before the handler was done")
