"""Which jobs are like what a test expects, and in words how near the others are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pgqueue import payload
from pgqueue.testing.ageing import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgqueue.testing.calls import Callee
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
        callee: the task.
        args: by name, of the handler's types after a round trip through JSON.
        options: of OPTIONS.
    """

    callee: Callee
    args: Mapping[str, Any]
    options: Mapping[str, Any]

    def __str__(self) -> str:
        """As a failure shows it."""
        args = self.callee.redaction.hide(dict(self.args))
        call = ", ".join(f"{name}={payload.show(value)}" for name, value in args.items())
        options = "".join(f", {name} {value!r}" for name, value in self.options.items())
        return f"{self.callee.name}({call or '...'}){options}"

    def differences(self, job: SeenJob) -> list[str]:
        """In what a job is not as expected, in words."""
        if job.task != self.callee.name:
            return [f"the task is {job.task}"]
        return [*self._args(job), *self._options(job)]

    def _args(self, job: SeenJob) -> list[str]:
        found = []
        actual = {**self.callee.defaults, **self.callee.named(job.args)}
        for name, value in self.args.items():
            given = actual.get(name, _MISSING)
            if given is _MISSING:
                found.append(f"{name} is not given")
            elif given != value or isinstance(given, bool) != isinstance(value, bool):
                hidden = self.callee.redaction.covers([name])
                found.append(f"{name} is {'***' if hidden else payload.show(given)}")
        return found

    def _options(self, job: SeenJob) -> list[str]:
        found = []
        for name, value in self.options.items():
            actual = getattr(job, name)
            near = name == "delay" and abs(actual - value) <= NEAR
            if actual != value and not near:
                found.append(f"{name} is {actual!r}")
        return found


def expect(callee: Callee, args: tuple[Any, ...], named: Mapping[str, Any]) -> Expected:
    """What a test expects.

    Args:
        callee: whose job.
        args: arguments by position; those that follow may be anything.
        named: arguments by name, and OPTIONS; `args` holds those whose names are options too.

    Raises:
        TypeError: the task has no such argument.
        InvalidPayload: no job could have this argument.
    """
    options = {name: value for name, value in named.items() if name in OPTIONS}
    rest = {name: value for name, value in named.items() if name not in {*OPTIONS, "args"}}
    if "delay" in options:
        options["delay"] = seconds_of(options["delay"])
    return Expected(callee, callee.stored(args, {**rest, **named.get("args", {})}), options)


def failure(expected: Expected, count: int | None, found: int, there: Sequence[SeenJob]) -> str:
    """Why an assertion failed: what was expected, and what is there, nearest first."""
    wanted = "a job like" if count is None else f"{count} of" if count else "no job like"
    lines = [f"expected {wanted} {expected}; found {found or 'none'}. "]
    if not there:
        return lines[0] + "There are no jobs."
    lines[0] += "There are, nearest first:"
    name = expected.callee.name
    near = sorted(there, key=lambda job: (job.task != name, len(expected.differences(job))))
    for job in near[:SHOWN]:
        differs = "; ".join(expected.differences(job))
        lines.append(f"    {job}" + (f" - {differs}" if differs else " - matches"))
    if len(near) > SHOWN:
        lines.append(f"    and {len(near) - SHOWN} more")
    return "\n".join(lines)
