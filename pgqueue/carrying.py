"""What travels with a job besides its arguments: context variables, and the trace it belongs to.

Variables stand under pgqueue's own member of the job's meta. The trace context is `traceparent`
and `tracestate` of the W3C, in the meta itself, so that other programs and plain SQL can write and
read it as well. OpenTelemetry is used where the process has imported it, and never imported first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from pgqueue.errors import ConfigError
from pgqueue.redaction import MARK

if TYPE_CHECKING:
    Variables = Mapping[str, ContextVar[Any]]

CARRY: Final = "carry"
"""The member under MARK that holds the variables by name."""
PARENT: Final = "traceparent"
TRACE: Final = (PARENT, "tracestate")
OPENTELEMETRY: Final = "opentelemetry.trace"
LONGEST: Final = 512
"""Characters of a trace context that are passed on: of `tracestate` the W3C asks as many."""
LONGEST_NAME: Final = 128

_UNSET: Final = object()
_inherited: ContextVar[dict[str, str] | None] = ContextVar("pgqueue_trace", default=None)
"""The trace context that the running job came with, for jobs that its handler enqueues."""


def registered(variables: Variables, variable: Any, name: str | None) -> dict[str, ContextVar[Any]]:
    """The variables with one more, under its own name unless another is given.

    Raises:
        ConfigError: it is no ContextVar, or the name is taken or not acceptable.
    """
    if not isinstance(variable, ContextVar):
        raise ConfigError(f"carry: {variable!r} is not a ContextVar")
    name = variable.name if name is None else name
    if not _is_name(name):
        raise ConfigError(
            f"carry: the name {name!r} is refused; expected 1 to {LONGEST_NAME} printable "
            "characters, the same in the program that enqueues and in the one that works"
        )
    if variables.get(name, variable) is not variable:
        raise ConfigError(f"carry: the name {name!r} is taken by {variables[name]!r}")
    return {**variables, name: variable}


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME and name.isprintable()


def travels(variables: Variables) -> bool:
    """Whether a job that is enqueued now may have something to take along; a fast test."""
    return bool(variables) or OPENTELEMETRY in sys.modules or _inherited.get() is not None


def packed(meta: Any, mark: Mapping[str, Any], variables: Variables) -> Any:
    """A job's meta with what travels along.

    Args:
        meta: the caller's, or None; a trace context in it is left as it is, and what is no mapping
            altogether: that is refused with all else that is checked.
        mark: pgqueue's own member, as `Redaction.mark` gives it.
        variables: those that are set here and now are taken along.
    """
    if not isinstance(meta, Mapping | None):
        return meta
    values = {name: variable.get(_UNSET) for name, variable in variables.items()}
    values = {name: value for name, value in values.items() if value is not _UNSET}
    trace = {name: values.pop(name) for name in TRACE if name in values}
    packed = dict(meta or {})
    if PARENT not in packed:
        packed |= trace or _current_trace()
    own = dict(mark.get(MARK, {}))
    if values:
        own[CARRY] = values
    return packed | ({MARK: own} if own else {})


def unpack(meta: dict[str, Any], variables: Variables) -> None:
    """Take pgqueue's own member out of a stored job's meta, and set what it brought.

    Sets context variables, so it is called in the context that the handler will have. Anybody may
    have written the meta: what it should not hold is passed over.
    """
    mark = meta.pop(MARK, None)
    trace = {name: meta[name] for name in TRACE if _is_trace(meta.get(name))}
    if variables:
        carried = mark.get(CARRY) if isinstance(mark, dict) else None
        values = {**(carried if isinstance(carried, dict) else {}), **trace}
        for name in values.keys() & variables.keys():
            variables[name].set(values[name])
    if PARENT in trace:
        _inherited.set(trace)
        _attach(trace)


def _is_trace(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _current_trace() -> dict[str, str]:
    """The trace context of OpenTelemetry's current span, or else of the job that runs."""
    carrier: dict[str, str] = {}
    api = sys.modules.get(OPENTELEMETRY)
    if api is not None and api.get_current_span().get_span_context().is_valid:
        _propagator().inject(carrier)
    return carrier or _inherited.get() or {}


def _attach(trace: dict[str, str]) -> None:
    """Go on with a trace; the context that this is attached to ends with the attempt."""
    if OPENTELEMETRY in sys.modules:
        from opentelemetry import context  # noqa: PLC0415 - the process has it, and uses it

        context.attach(_propagator().extract(trace))


def _propagator() -> Any:
    from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - as above

    return tracecontext.TraceContextTextMapPropagator()
