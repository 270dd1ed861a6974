"""Middleware: code round each handler, put together once, when it is registered.

Three forms. `def mw(context, call_next)` is put round `def` handlers, `async def mw(context,
call_next)` round `async def` handlers: each calls, or awaits, the rest, and returns the result. A
generator `def mw(context)` with one `yield` is put round both: what stands before and after it runs
before and after the handler, like a context manager of the standard library, and cannot change
the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue import handler
from pgqueue.errors import ConfigError
from pgqueue.signatures import signature_of

if TYPE_CHECKING:
    from pgqueue.context import JobContext

Call = Callable[["JobContext", dict[str, Any]], Any]
"""Calls a handler with its context and arguments; what it returns, or its coroutine."""
Manager = Callable[["JobContext"], AbstractContextManager[Any]]

FORMS: Final = (
    "expected def mw(context, call_next) for def handlers, async def mw(context, call_next) for "
    "async def handlers, or a generator def mw(context) with one yield for both"
)


class Layer(NamedTuple):
    """One middleware; `is_async` says round which kind of handlers, None: round both."""

    function: Callable[..., Any]
    is_async: bool | None


def layer(function: Any) -> Layer:
    """A middleware in the form that its author chose.

    Raises:
        ConfigError: it has none of the forms.
    """
    if not callable(function) or inspect.isasyncgenfunction(inspect.unwrap(function)):
        raise ConfigError(f"{_name(function)} cannot be a middleware: {FORMS}")
    is_generator = inspect.isgeneratorfunction(inspect.unwrap(function))
    _check_call(function, ("context",) if is_generator else ("context", "call_next"))
    if not is_generator:
        return Layer(function, handler.is_async(function))
    # What contextlib.contextmanager has wrapped already makes a manager when it is called.
    made = inspect.isgeneratorfunction(function)
    return Layer(contextmanager(function) if made else function, None)


def layers(name: str, functions: Iterable[Any], *, is_async: bool) -> tuple[Layer, ...]:
    """The middleware of one task.

    Raises:
        ConfigError: one of them has no known form, or is not for a handler of this kind.
    """
    if callable(functions) or not isinstance(functions, Iterable):
        raise ConfigError(f"{name}: middleware={functions!r} must be a list of functions")
    made = tuple(layer(function) for function in functions)
    for each in made:
        if each.is_async is not None and each.is_async != is_async:
            mine, other = ("async def", "def") if is_async else ("def", "async def")
            raise ConfigError(
                f"{name} is {mine}, and its middleware {_name(each.function)} is {other}: {FORMS}"
            )
    return made


def around(call: Call, layers: Iterable[Layer], *, is_async: bool) -> Call | None:
    """What to call instead of the handler: the layers round it, the first one outermost.

    Layers that are not for handlers of this kind are left out; None when none is left.
    """
    chosen = [each for each in layers if each.is_async is None or each.is_async == is_async]
    if not chosen:
        return None
    for each in reversed(chosen):
        if each.is_async is not None:
            call = _linked(each.function, call)
        else:
            call = (
                _managed_coroutine(each.function, call)
                if is_async
                else _managed(each.function, call)
            )
    return call


def _linked(function: Callable[..., Any], following: Call) -> Call:
    def call(context: JobContext, args: dict[str, Any]) -> Any:
        return function(context, partial(following, context, args))

    return call


def _managed(manager: Manager, following: Call) -> Call:
    def call(context: JobContext, args: dict[str, Any]) -> Any:
        with manager(context):
            return following(context, args)

    return call


def _managed_coroutine(manager: Manager, following: Call) -> Call:
    async def call(context: JobContext, args: dict[str, Any]) -> Any:
        with manager(context):
            return await following(context, args)

    return call


def _check_call(function: Any, names: tuple[str, ...]) -> None:
    try:
        signature_of(function).bind(*names)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{_name(function)} cannot be called with ({', '.join(names)}): {FORMS}"
        ) from None


def _name(function: Any) -> str:
    return handler.describe(function) if callable(function) else repr(function)
