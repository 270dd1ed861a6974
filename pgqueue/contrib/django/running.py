"""How a worker runs a task of Django's framework: its call, its signals, its connections."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.utils import timezone

from pgqueue import outcome
from pgqueue.contrib.django import results, transactional
from pgqueue.contrib.django.framework import (
    TaskContext,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from pgqueue.outcome import Doubtful, Settled
from pgqueue.retry import DEFAULT_RETRY
from pgqueue.tasks import ContextTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from pgqueue.context import JobContext
    from pgqueue.contrib.django.application import DjangoApp
    from pgqueue.outcome import Unsuccessful


def prepare(app: DjangoApp, definition: Any) -> Task[..., Any]:
    """A framework task as a worker knows it: its job's arguments are `args` and `kwargs`."""
    defaults = definition.get_backend().options
    make = _async_handler if iscoroutinefunction(definition.func) else _handler
    return ContextTask(
        app,
        make(definition),
        name=definition.module_path,
        retry=getattr(definition, "retry", None) or defaults.get("retry") or DEFAULT_RETRY,
        dead_on=getattr(definition, "dead_on", None) or defaults.get("dead_on") or (),
    )


def _handler(task: Any) -> Callable[..., Any]:
    finish = _finish_in_transaction if getattr(task, "transactional", False) else _run

    def run(context: JobContext, args: Any = (), kwargs: Any = None) -> Any:
        call = Call(task, context, args, kwargs or {})
        call.started()
        return finish(call)

    return run


def _run(call: Call) -> Any:
    with call.ending():
        call.run()
    return call.value


def _finish_in_transaction(call: Call) -> Settled | Doubtful:
    app = call.backend.app
    with call.ending():
        done = transactional.run(
            app.alias, call.context, app.settings, call.run, otherwise=call.outcome_of
        )
        call.doubtful = isinstance(done, Doubtful)
    return done


def _async_handler(task: Any) -> Callable[..., Any]:
    async def run(context: JobContext, args: Any = (), kwargs: Any = None) -> Any:
        past = _first_enqueued_at(context) is None
        call = await _call(past, Call, task, context, args, kwargs or {})
        await _call(_is_heard(task_started), call.started)
        try:
            call.returned(await task.func(*call.arguments, **call.result.kwargs))
        except asyncio.CancelledError:
            raise  # cut from outside: only the worker knows why, and what becomes of the job
        except BaseException as error:
            await _call(_is_heard(task_finished), call.failed, error)
            raise
        await _call(_is_heard(task_finished), call.succeeded)
        return call.value

    return run


async def _call(on_thread: bool, function: Callable[..., Any], *args: Any) -> Any:
    """Call a plain function: on the thread of the job's ORM calls, or here when it needs none."""
    return await sync_to_async(function)(*args) if on_thread else function(*args)


def _is_heard(signal: Any) -> bool:
    """Whether somebody besides Django's own log listens, who may use the ORM."""
    return len(signal.receivers) > 1


def _first_enqueued_at(context: JobContext) -> datetime | None:
    """When the job was enqueued, if this is its first lease and its producer said so."""
    return results.time_in(context.meta) if context.lease == 1 else None


class Call:
    """One attempt at a framework task, and the result that its signals and its context show.

    The result is read from the database only for a job with a past; a first attempt has none.
    """

    def __init__(self, task: Any, context: JobContext, args: Any, kwargs: Any) -> None:
        self._task, self.context = task, context
        self.backend = task.get_backend()
        self.value: Any = None
        self.doubtful = False
        enqueued_at = _first_enqueued_at(context)
        if enqueued_at is None:
            self.result = results.read(self.backend, str(context.id))
        else:
            self.result = results.first_attempt(
                task, args, kwargs, context=context, enqueued_at=enqueued_at
            )

    @property
    def arguments(self) -> list[Any]:
        """What the function is called with."""
        own = [TaskContext(task_result=self.result)] if self._task.takes_context else []
        return [*own, *self.result.args]

    def started(self) -> None:
        """Say that the attempt starts."""
        self._send(task_started)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Say how the attempt ends; inside of `except`, so that logs have the traceback."""
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise
        if not self.doubtful:
            self.succeeded()

    def run(self) -> Any:
        """Call a plain function; what it returned."""
        self.returned(self._task.func(*self.arguments, **self.result.kwargs))
        return self.value

    def returned(self, value: Any) -> None:
        """Take what the function returned; a type that JSON does not have is its error."""
        self.value = normalize_json(value)

    def succeeded(self) -> None:
        """Say that it succeeded."""
        self._set(status=TaskResultStatus.SUCCESSFUL, _return_value=self.value)
        self._finished()

    def failed(self, error: BaseException) -> None:
        """Say that it failed, unless it will be tried again."""
        ended = self.outcome_of(error)
        if ended.state == "ready":
            return
        if ended.error_type:
            self.result.errors.append(results.error_of(ended))
        self._set(status=TaskResultStatus.FAILED)
        self._finished()

    def outcome_of(self, error: BaseException) -> Unsuccessful:
        """What the worker will make of an error."""
        known: Task[..., Any] = self.backend.app.tasks[self._task.module_path]
        return outcome.decide(error, cast("Any", self.context), known.retry, known.dead_on)

    def _finished(self) -> None:
        self._set(finished_at=timezone.now())
        self._send(task_finished)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self.result, name, value)

    def _send(self, signal: Any) -> None:
        # Robust: who only listens must not decide how a job ends; Django logs the error.
        signal.send_robust(type(self.backend), task_result=self.result)
