"""Calls as tests write them, and as jobs store them: of pgqueue's tasks, and of Django's framework.

A task of the framework is known by its `module_path`, and its jobs store `args` and `kwargs`.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, Protocol

from pgqueue import payload
from pgqueue.redaction import Redaction
from pgqueue.signatures import signature_of
from pgqueue.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping


class Callee(Protocol):
    """What is called, and how its arguments are compared.

    Attributes:
        name: of the task, as jobs carry it.
        redaction: arguments that are not shown.
        defaults: arguments that a call need not have.
    """

    name: str
    redaction: Redaction
    defaults: Mapping[str, Any]

    def stored(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """Some arguments of a call by name, as a job gives them to its handler."""

    def named(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments of a job by name."""


class _Own:
    """A task of pgqueue."""

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task
        self.name, self.redaction = task.name, task.redaction
        self._signature = _without_context(task.signature, task.takes_context)
        self.defaults: Mapping[str, Any] = _defaults(self._signature)

    def stored(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        task, bound = self._task, _bound(self.name, self._signature, args, named)
        if task.arguments is not None:
            task.arguments.encode(bound)
        text = payload.encode_args(bound, limit=task.app.settings.max_payload)
        stored: dict[str, Any] = payload.decode(text)
        if task.arguments is not None:
            task.arguments.decode(stored)
        return stored

    def named(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        return args


class _Framework:
    """A task of Django's framework."""

    def __init__(self, task: Any) -> None:
        self.name, self.redaction = str(task.module_path), Redaction()
        self._signature = _without_context(signature_of(task.func), task.takes_context)
        self.defaults: Mapping[str, Any] = _defaults(self._signature)

    def stored(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        bound = _bound(self.name, self._signature, args, named)
        stored: dict[str, Any] = json.loads(json.dumps(bound))
        return stored

    def named(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        given = tuple(args.get("args", ()))
        return _bound(self.name, self._signature, given, args.get("kwargs") or {})


def callee_of(task: Any) -> Callee:
    """What a test names: a task, of pgqueue or of Django's framework.

    Raises:
        TypeError: neither of the two.
    """
    if isinstance(task, Task):
        return _Own(task)
    if hasattr(task, "module_path"):
        return _Framework(task)
    raise TypeError(f"{task!r} is no task: pass what @app.task made of the function")


def _without_context(signature: inspect.Signature, takes_context: bool) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    return signature.replace(parameters=parameters[1 if takes_context else 0 :])


def _defaults(signature: inspect.Signature) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def _bound(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        signature.bind_partial(*args, **named)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    return dict(zip(signature.parameters, args, strict=False)) | dict(named)
