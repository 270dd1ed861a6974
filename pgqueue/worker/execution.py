"""What every executor does with an attempt: from stored arguments to an outcome. No I/O."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from pgqueue import carrying, codec, handler, outcome, payload, store
from pgqueue.converters.arguments import encode_result
from pgqueue.errors import InvalidPayload, KeyMissing
from pgqueue.outcome import (
    Ephemeral,
    HeldBack,
    JobTimeout,
    Succeeded,
    UnreadableError,
    Unsuccessful,
)

if TYPE_CHECKING:
    from collections.abc import KeysView, Sequence

    from pgqueue.config import Settings
    from pgqueue.tasks import Task, Upgrade
    from pgqueue.worker.parts import Attempt


def decode_together(attempts: Sequence[Attempt]) -> None:
    """Decode arguments of attempts that this process will run; the rest is decoded one by one."""
    values = payload.decode_together([attempt.job.args for attempt in attempts])
    if values is not None:
        for attempt, value in zip(attempts, values, strict=True):
            attempt.stored = value


def prepare(attempt: Attempt) -> dict[str, Any]:
    """The arguments of an attempt: decoded, brought to the task's version, of the handler's types.

    Called in the context that the handler will have: what travelled with the job is set in it.

    Raises:
        InvalidPayload: what is stored cannot be decoded, or the handler does not take it.
        HeldBack: it is encrypted with a key that this process lacks.
    """
    job, task = attempt.job, attempt.task
    stored = attempt.stored
    args: dict[str, Any] = payload.decode(job.args) if stored is None else stored
    if job.meta != "{}":
        attempt.meta = meta = payload.decode(job.meta)
        carrying.unpack(meta, task.app.carried)
    if type(args) is not dict or job.version != task.version or not _fits(task, args.keys()):
        args = _adapted(attempt, args)
    if task.arguments is not None:
        try:
            task.arguments.decode(args)
        except InvalidPayload as error:
            raise InvalidPayload(_misfit(attempt, str(error))) from None
    attempt.args = args
    return args


def _fits(task: Task[..., object], names: KeysView[str]) -> bool:
    """A fast test of the names; False means only: look closer."""
    return names == task.required or task.required <= names <= task.accepted


def _adapted(attempt: Attempt, args: Any) -> dict[str, Any]:
    job, task = attempt.job, attempt.task
    if codec.is_sealed(args):
        args = _opened(attempt, args)
    if not isinstance(args, dict):
        raise InvalidPayload(f"args of job {job.id} are a {type(args).__name__}, not an object")
    adapted: dict[str, Any] = args
    for version in range(job.version, task.version):
        if (step := task.upgrade.get(version)) is not None:
            adapted = _upgraded(attempt, step, version, adapted)
    if not _fits(task, adapted.keys()):
        try:
            handler.bind(task.signature, task.takes_context, (), adapted)
        except TypeError as error:
            raise InvalidPayload(_misfit(attempt, f"{task.name}: {error}")) from None
    return adapted


def _opened(attempt: Attempt, args: Any) -> Any:
    task = attempt.task
    try:
        return payload.decode(codec.opened(task.codec, args, f"args of {task.name}"))
    except KeyMissing as error:
        raise HeldBack(str(error)) from None


def _upgraded(
    attempt: Attempt, step: Upgrade, version: int, args: dict[str, Any]
) -> dict[str, Any]:
    what = f"the upgrade of {attempt.task.name} from version {version}"
    try:
        upgraded: Any = step(args)
    except Exception as error:
        error.add_note(f"raised by {what}")
        raise InvalidPayload(f"{what} raised {type(error).__name__}: {error}") from error
    if not isinstance(upgraded, dict):
        raise InvalidPayload(
            f"{what} returned a {type(upgraded).__name__}, not a dict of arguments"
        )
    return upgraded


def _misfit(attempt: Attempt, what: str) -> str:
    stored, wanted = attempt.job.version, attempt.task.version
    old = f" (stored as version {stored}, the task is at {wanted})" if stored != wanted else ""
    return f"stored arguments do not fit{old}: {what}"


def last_words(attempt: Attempt) -> dict[str, str] | None:
    """The parameter of progress.sql, where the table does not know yet what the handler said."""
    if not attempt.reports:
        return None
    said = attempt.reports.unwritten([attempt.key])
    return {"reports": store.reports_document(said)} if said else None


_ENDED: Final = (outcome.Settled, outcome.Doubtful)
_NOT_RUN: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)


def succeeded(
    attempt: Attempt, value: Any, settings: Settings
) -> Succeeded | Unsuccessful | outcome.Settled | outcome.Doubtful:
    """The outcome of a handler that returned; a result that JSON cannot hold makes it dead.

    A handler that finished its own job, in a transaction that the worker does not know, returns
    the outcome itself. What a handler of an ephemeral task returned is kept nowhere. One that
    returned its work undone, a coroutine that nobody awaits, has not succeeded.
    """
    if value is None and not attempt.task.ephemeral:
        return Succeeded(*attempt.key, None)
    if isinstance(value, _ENDED):
        return value
    if attempt.task.ephemeral or not attempt.task.keeps_result:
        if value is not None and isinstance(value, _NOT_RUN):
            return failed(attempt, _undone(value))
        return (Ephemeral if attempt.task.ephemeral else Succeeded)(*attempt.key, None)
    try:
        if (converter := attempt.task.returns) is not None:
            value = encode_result(converter, value)
        result = payload.encode_result(value, limit=settings.max_result)
        if attempt.task.codec is not None:
            context = f"result of {attempt.task.name}"
            result = codec.seal(attempt.task.codec, result or "null", context)
    except Exception as error:  # noqa: BLE001 - encoding may call into the value's own code
        return failed(attempt, _undone(value) if isinstance(value, _NOT_RUN) else error)
    return Succeeded(attempt.job.id, attempt.job.lease, result)


def _undone(value: object) -> InvalidPayload:
    """What is wrong with a handler whose work nobody has done."""
    what = type(value).__name__
    return InvalidPayload(
        f"the handler returned a {what}, so nothing of it has run: what is registered, or wraps "
        "it, must be async def and await a coroutine; a generator must be run to its end"
    )


def finish_statement(attempt: Attempt) -> str:
    """The statement by which a transactional task records its success."""
    return f"finish_transactional{'_ephemeral' if attempt.task.ephemeral else ''}"


def failed(attempt: Attempt, error: BaseException) -> Unsuccessful:
    """The outcome of a handler that raised; after a cancel nothing is tried again."""
    try:
        done = outcome.decide(error, attempt.job, attempt.task.retry, attempt.task.dead_on)
    except BaseException as bad:  # noqa: BLE001 - looking at an error runs code of its class
        plain = _unreadable(error, bad)
        done = outcome.decide(plain, attempt.job, attempt.task.retry, attempt.task.dead_on)
    return outcome.unwanted(done) if attempt.why == "cancel" else done


def _unreadable(error: BaseException, bad: BaseException) -> UnreadableError:
    # object's own repr(): it asks nothing of either class.
    raised, then = object.__repr__(error), object.__repr__(bad)
    return UnreadableError(f"the handler raised {raised}; looking at it raised {then}")


def unsure(attempt: Attempt, died: Unsuccessful) -> Unsuccessful | outcome.Doubtful:
    """The outcome of an attempt that was ended with its process, wherever it stood.

    A transactional one may have committed its success before: the table knows.
    """
    return outcome.Doubtful(*attempt.key, died) if attempt.task.transactional else died


def cut(attempt: Attempt, but: str = "") -> Unsuccessful:
    """The outcome of an attempt that was ended from outside, for the reason kept in `why`.

    `but` is added to what is recorded: the handler of an attempt that was written off runs on.
    """
    if attempt.why == "cancel":
        return outcome.cancelled(attempt.job, f"cancel was requested{but}")
    if attempt.why == "timeout":
        return failed(attempt, JobTimeout(f"ran longer than {attempt.job.timeout:g} s{but}"))
    if not attempt.started:
        return outcome.release(attempt.job)
    return outcome.interrupted(attempt.job, "the worker stopped before the handler was done")
