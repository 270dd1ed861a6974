"""A handler as its author wrote it: its name, its parameters, whether it wants the context. Pure.

A task's name is stored in every job, so it must be the same in the process that enqueues and in
the one that works. Hence the rules below: no name that only one process can know.
"""

from __future__ import annotations

import inspect
import sys
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ForwardRef

from pgqueue.context import JobContext
from pgqueue.errors import ConfigError
from pgqueue.signatures import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from pgqueue.options import ExecutorName

MAIN_MODULES: Final = ("__main__", "__mp_main__")
"""What Python calls the script it runs: itself, and in a process that multiprocessing spawned."""
MAX_RSS: Final = 16 * 1024 * 1024
"""MiB: 16 TiB."""


def describe(function: Callable[..., Any]) -> str:
    """A function as an error message names it: module, name, and line where it has one."""
    module = getattr(function, "__module__", None) or "?"
    name = getattr(function, "__qualname__", None) or repr(function)
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{module}.{name}" + (f" (line {code.co_firstlineno})" if code else "")


def task_name(function: Callable[..., Any]) -> str:
    """The name under which every process knows this function: `module.qualname`.

    Raises:
        ConfigError: the function has no name that another process could import.
    """
    qualname = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if not qualname or not module or "<lambda>" in qualname:
        raise ConfigError(f"{function!r} has no name of its own: pass @app.task(name=...)")
    if "<locals>" in qualname:
        raise ConfigError(
            f"{module}.{qualname} is defined inside another function, so its name is not unique: "
            "move it to the module's top level, or pass @app.task(name=...)"
        )
    if module in MAIN_MODULES:
        module = _main_name(sys.modules[module], qualname)
    return f"{module}.{qualname}"


def _main_name(main: ModuleType, qualname: str) -> str:
    """The name by which other processes import the module that runs as the program."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    script = Path(getattr(main, "__file__", None) or "")
    if script.stem.isidentifier() and _is_top_level(script):
        return script.stem
    raise ConfigError(
        f"a worker could not import {qualname}: it is defined in the program itself "
        f"({str(script) if script.name else 'an interactive session'}). Move it to a module, run "
        "the program with python -m package.module, or pass @app.task(name=...)"
    )


def _is_top_level(script: Path) -> bool:
    folder = script.resolve().parent
    in_package = (folder / "__init__.py").exists()
    return bool(sys.path) and Path(sys.path[0]).resolve() == folder and not in_package


def handler_signature(function: Any) -> inspect.Signature:
    """The parameters of a handler.

    Raises:
        ConfigError: it is not a function, or the worker could not call it with named arguments.
    """
    if not callable(function) or inspect.isclass(function):
        raise ConfigError(f"{function!r} is not a function: only functions can be tasks")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"{describe(function)} is a generator: a task must return its result")
    signature = signature_of(function)
    stored = list(signature.parameters.values())
    if wants_context(function, signature):
        del stored[0]
    for parameter in stored:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY):
            raise ConfigError(
                f"{describe(function)}: its parameter {parameter.name!r} takes no argument by "
                "name, and arguments are stored by name: use a list instead of *args, and no '/'"
            )
    return signature


def bind(
    signature: inspect.Signature, takes_context: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by parameter name, as they are stored; defaults are not.

    Raises:
        TypeError: the handler could not be called so; the words are Python's own.
    """
    context = (None,) if takes_context else ()
    signature.bind(*context, *args, **kwargs)
    names = list(signature.parameters)[len(context) :]
    return dict(zip(names, args, strict=False)) | kwargs


def parameter_names(
    signature: inspect.Signature, takes_context: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a call must have, and all that it may have; `**names` are not among them."""
    stored = list(signature.parameters.values())[1 if takes_context else 0 :]
    named = [parameter for parameter in stored if parameter.kind is not Parameter.VAR_KEYWORD]
    required = (parameter.name for parameter in named if parameter.default is Parameter.empty)
    return frozenset(required), frozenset(parameter.name for parameter in named)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - an object's `async __call__`
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def executor_name(name: str, is_async: bool, given: Any, max_rss: Any) -> ExecutorName:
    """Where a task's handler runs.

    Args:
        name: the task's, for messages.
        is_async: whether calling the handler gives a coroutine.
        given: the option `executor`.
        max_rss: the option of that name.

    Raises:
        ConfigError: there is no such executor, or it cannot run such a function.
    """
    kinds: tuple[ExecutorName, ...] = ("async",) if is_async else ("thread", "process")
    chosen: ExecutorName = kinds[0] if given is None else given
    if chosen not in kinds:
        what = "a coroutine function" if is_async else "a plain function"
        names = " or ".join(map(repr, kinds))
        raise ConfigError(f"{name}: executor={given!r} cannot run {what}: it takes {names}")
    if max_rss is not None and chosen != "process":
        raise ConfigError(
            f"{name}: max_rss={max_rss!r} needs executor='process': only a process of its own "
            "has memory of its own"
        )
    if max_rss is not None and (type(max_rss) is not int or not 1 <= max_rss <= MAX_RSS):
        raise ConfigError(f"{name}: max_rss={max_rss!r}: expected MiB from 1 to {MAX_RSS}")
    return chosen


def wants_context(function: Callable[..., Any], signature: inspect.Signature) -> bool:
    """Whether the first parameter is annotated JobContext, as a class or as text."""
    first = next(iter(signature.parameters.values()), None)
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    if first is None or first.kind not in positional:
        return False
    annotation = first.annotation
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        annotation = _resolve(annotation, function)
    return isinstance(annotation, type) and issubclass(annotation, JobContext)


def _resolve(annotation: str, function: Callable[..., Any]) -> Any:
    """What a dotted annotation names; without its import (TYPE_CHECKING), what its name says."""
    while isinstance(function, partial):
        function = function.func
    head, *rest = annotation.strip("'\" ").split(".")
    found = getattr(inspect.unwrap(function), "__globals__", {}).get(head)
    for name in rest:
        found = getattr(found, name, None)
    imported_for_types_only = found is None and (rest or [head])[-1] == JobContext.__name__
    return JobContext if imported_for_types_only else found
