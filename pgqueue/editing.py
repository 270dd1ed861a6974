"""New arguments for a job that is requeued: checked like those of an enqueue. Pure.

Where this app has the task they are checked by its annotations, and stored in its version; else
they are JSON data, and nobody but a worker can say whether they fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pgqueue import handler, payload
from pgqueue.actions import Edited
from pgqueue.codec import is_sealed, opened
from pgqueue.enqueue import contract
from pgqueue.errors import InvalidJob, InvalidPayload, KeyMissing
from pgqueue.options import RequeueOptions
from pgqueue.redaction import HIDDEN, Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.actions import Stored
    from pgqueue.codec import Codec
    from pgqueue.tasks import Task


def chosen(
    tasks: Mapping[str, Task[..., Any]],
    codec: Codec | None,
    limit: int,
    options: Mapping[str, Any],
) -> tuple[str | None, Editing | None]:
    """Who asks for a requeue, and the edit that its options mean.

    Raises:
        TypeError: an option that does not exist, or two that exclude each other.
        InvalidPayload: as `Editing`.
    """
    unknown = sorted(options.keys() - RequeueOptions.__optional_keys__)
    if unknown:
        known = ", ".join(sorted(RequeueOptions.__optional_keys__))
        raise TypeError(f"requeue() has no option {unknown[0]!r}; it takes {known}")
    by, args, set_args = (options.get(name) for name in ("by", "args", "set_args"))
    if args is not None and set_args is not None:
        raise TypeError("requeue() takes args=, all of them, or set_args=, some: not both")
    if args is None and set_args is None:
        return by, None
    given = set_args if args is None else args
    return by, Editing(tasks, codec, limit, given, whole=args is not None)


class Editing:
    """An edit, for `Operator.requeue`.

    Args:
        tasks: those of the app, by name.
        codec: the app's.
        limit: the largest arguments, in bytes of JSON.
        given: names and values, of the handler's types or as JSON data.
        whole: whether they replace all arguments, or only those that they name.

    Raises:
        InvalidPayload: JSON cannot hold them, whatever the task.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        codec: Codec | None,
        limit: int,
        given: Any,
        *,
        whole: bool,
    ) -> None:
        self._tasks, self._codec, self._limit = tasks, codec, limit
        self._given, self._whole = given, whole
        if not isinstance(given, Mapping) or not tasks:
            payload.encode_args(given, limit=limit)

    def __call__(self, stored: Stored) -> Edited | None:
        """What is to be stored; None where nothing changes.

        Raises:
            InvalidPayload: the arguments do not fit the task, or stand for hidden ones.
            KeyMissing: they are encrypted, and this app lacks the key.
            InvalidJob: the job is of a newer version than this app's task.
        """
        old = self._opened(stored)
        task = self._tasks.get(stored.task)
        version, args = stored.version, dict(self._given)
        if task is not None:
            version, args = task.version, _converted(task, args)
        if not self._whole:
            args = {**self._current(task, stored, old), **args}
        if task is not None:
            _check_whole(task, stored, args)
        _refuse_masks(args, Redaction.marked(payload.decode(stored.meta)))
        text = payload.encode_args(args, limit=self._limit)
        changed = _changed(old, payload.decode(text))
        if not changed and version == stored.version:
            return None
        sealed = contract.stored(stored.task, text, None, self._codec)
        return Edited(version, sealed, f"arguments changed: {', '.join(changed) or 'version'}")

    def _opened(self, stored: Stored) -> Any:
        """The arguments until now, decrypted; None where they cannot be read at all."""
        try:
            old = payload.decode(stored.args)
        except InvalidPayload:
            return None
        if not is_sealed(old):
            return old
        context = f"args of {stored.task}"
        if self._codec is None:
            # Else what was a secret would be stored in the clear.
            raise KeyMissing(
                f"{context}: they are encrypted, and this process has no codec: edit them where "
                "the app with its key is, PgQueue(codec=...)"
            )
        return payload.decode(opened(self._codec, old, context))

    def _current(self, task: Task[..., Any] | None, stored: Stored, old: Any) -> dict[str, Any]:
        if not isinstance(old, dict):
            raise InvalidPayload("args cannot be read as an object: give all of them instead")
        current: Any = deepcopy(old)
        for version in range(stored.version, task.version if task else 0):
            if task is not None and (step := task.upgrade.get(version)) is not None:
                current = step(current)
        return dict(current)


def _converted(task: Task[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Each value as JSON data: of the handler's type, or JSON data that gives that type."""
    if task.arguments is None:
        return given
    converted: dict[str, Any] = {}
    for name, value in given.items():
        one = {name: value}
        try:
            task.arguments.encode(one)
        except InvalidPayload as refused:
            one = {name: value}
            try:
                task.arguments.decode(deepcopy(one))
            except InvalidPayload:
                raise refused from None
        converted |= one
    return converted


def _check_whole(task: Task[..., Any], stored: Stored, args: dict[str, Any]) -> None:
    if stored.version > task.version:
        raise InvalidJob(
            f"version: {stored.version} is that of the job, and the task {task.name} is at "
            f"{task.version} here: edit it with the newer code"
        )
    try:
        handler.bind(task.signature, task.takes_context, (), args)
    except TypeError as error:
        raise InvalidPayload(f"args: {task.name}: {error}") from None
    if task.arguments is not None:
        task.arguments.decode(deepcopy(args))


def _refuse_masks(args: dict[str, Any], redaction: Redaction) -> None:
    """Refuse what views show instead of a hidden value: somebody copied it from there."""
    for steps, value in _leaves(args, ()):
        if value == HIDDEN and redaction.covers(steps):
            where = ".".join(map(str, steps))
            raise InvalidPayload(
                f"args.{where}: {HIDDEN!r} is what stands for the hidden value, not the value: "
                "name only the arguments to change, or give the real one"
            )


def _leaves(
    value: Any, steps: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in members:
            yield from _leaves(item, (*steps, step))
    else:
        yield steps, value


def _changed(old: Any, new: dict[str, Any]) -> list[str]:
    """Names of arguments that differ."""
    before = old if isinstance(old, dict) else {}
    missing = object()
    names = [*new, *(name for name in before if name not in new)]
    return [name for name in names if before.get(name, missing) != new.get(name, missing)]
