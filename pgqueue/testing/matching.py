"""Which jobs are like what a test expects, and in words how near the others are. Pure."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pgqueue import payload
from pgqueue.testing.ageing import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgqueue.tasks import Task
    from pgqueue.testing.values import SeenJob

OPTIONS: Final = ("queue", "priority", "key", "delay")
NEAR: Final = 1.0
"""Seconds by which a delay may differ: the clock moves on between an enqueue's own statements."""
SHOWN: Final = 10
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a test expects of a job: parts that are not given match anything.

    Attributes:
        args: by name, of the handler's types after a round trip through JSON.
        options: of OPTIONS.
    """

    task: Task[..., Any]
    args: Mapping[str, Any]
    options: Mapping[str, Any]

    def __str__(self) -> str:
        """As a failure shows it."""
        args = self.task.redaction.hide(dict(self.args))
        call = ", ".join(f"{name}={payload.show(value)}" for name, value in args.items())
        options = "".join(f", {name} {value!r}" for name, value in self.options.items())
        return f"{self.task.name}({call or '...'}){options}"

    def differences(self, job: SeenJob) -> list[str]:
        """In what a job is not as expected, in words."""
        if job.task != self.task.name:
            return [f"the task is {job.task}"]
        return [*self._args(job), *self._options(job)]

    def _args(self, job: SeenJob) -> list[str]:
        found = []
        for name, value in self.args.items():
            actual = job.args.get(name, _MISSING)
            if actual is _MISSING:
                actual = self._default(name)
            if actual is _MISSING:
                found.append(f"{name} is not given")
            elif actual != value or isinstance(actual, bool) != isinstance(value, bool):
                hidden = self.task.redaction.covers([name])
                found.append(f"{name} is {'***' if hidden else payload.show(actual)}")
        return found

    def _options(self, job: SeenJob) -> list[str]:
        found = []
        for name, value in self.options.items():
            actual = getattr(job, name)
            near = name == "delay" and abs(actual - value) <= NEAR
            if actual != value and not near:
                found.append(f"{name} is {actual!r}")
        return found

    def _default(self, name: str) -> Any:
        default = self.task.signature.parameters[name].default
        return _MISSING if default is inspect.Parameter.empty else default


def expect(
    task: Task[..., Any],
    args: tuple[Any, ...],
    named: Mapping[str, Any],
) -> Expected:
    """What a test expects.

    Args:
        task: whose job.
        args: arguments by position; those that follow may be anything.
        named: arguments by name, and OPTIONS; `args` holds those whose names are options too.

    Raises:
        TypeError: the task has no such argument.
        InvalidPayload: no job could have this argument.
    """
    options = {name: value for name, value in named.items() if name in OPTIONS}
    rest = {name: value for name, value in named.items() if name not in {*OPTIONS, "args"}}
    bound = _bound(task, args, {**rest, **named.get("args", {})})
    if task.arguments is not None:
        task.arguments.encode(bound)
    limit = task.app.settings.max_payload
    bound = payload.decode(payload.encode_args(bound, limit=limit))
    if task.arguments is not None:
        task.arguments.decode(bound)
    if "delay" in options:
        options["delay"] = seconds_of(options["delay"])
    return Expected(task, bound, options)


def _bound(task: Task[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    context = (None,) if task.takes_context else ()
    try:
        bound = task.signature.bind_partial(*context, *args, **named)
    except TypeError as error:
        raise TypeError(f"{task.name}: {error}") from None
    names = list(task.signature.parameters)[len(context) :]
    return dict(zip(names, bound.args[len(context) :], strict=False)) | dict(named)


def failure(expected: Expected, count: int | None, found: int, there: Sequence[SeenJob]) -> str:
    """Why an assertion failed: what was expected, and what is there, nearest first."""
    wanted = "a job like" if count is None else f"{count} of" if count else "no job like"
    lines = [f"expected {wanted} {expected}; found {found or 'none'}. "]
    if not there:
        return lines[0] + "There are no jobs."
    lines[0] += "There are, nearest first:"
    near = sorted(there, key=lambda job: (job.task != expected.task.name, _distance(expected, job)))
    for job in near[:SHOWN]:
        differs = "; ".join(expected.differences(job))
        lines.append(f"    {job}" + (f" - {differs}" if differs else " - matches"))
    if len(near) > SHOWN:
        lines.append(f"    and {len(near) - SHOWN} more")
    return "\n".join(lines)


def _distance(expected: Expected, job: SeenJob) -> int:
    return len(expected.differences(job))
