"""Tasks: a function under a stable name, with its defaults.

Bound to a transaction and to options a Task is a BoundTask. Each makes a NewJob of a call, and
client.Producer brings that to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar

from pgqueue import carrying, handler, middleware as layered
from pgqueue.converters import arguments
from pgqueue.enqueue import contract
from pgqueue.errors import ConfigError
from pgqueue.hooks import JobHooks
from pgqueue.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, NewJob
from pgqueue.options import checked_transactional, chosen
from pgqueue.redaction import Redaction
from pgqueue.retention import by_state
from pgqueue.retry import DEFAULT_RETRY

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextvars import ContextVar
    from datetime import timedelta
    from typing import Unpack

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from pgqueue.client import Producer
    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.context import JobContext
    from pgqueue.converters.base import Converter
    from pgqueue.handle import JobHandle
    from pgqueue.job import State
    from pgqueue.middleware import Call, Layer
    from pgqueue.options import ExecutorName, JobOptions, Transactional
    from pgqueue.retention import Retention
    from pgqueue.retry import RetryRule

P = ParamSpec("P")
R = TypeVar("R")

_NOT_SAID: Final[Mapping[State, float | None]] = MappingProxyType({})

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Stored arguments of one version -> those of the next: JSON data, the whole object."""


class TaskHome(Protocol):
    """What a task needs of the app that registered it."""

    settings: Settings
    codec: Codec | None
    redact: frozenset[str]
    layers: tuple[Layer, ...]
    carried: Mapping[str, ContextVar[Any]]
    sessions: Callable[[], Session] | None
    asessions: Callable[[], AsyncSession] | None

    def producer(self, connection: Any, require_transaction: bool | None) -> Producer:
        """The way to the database, in a connection's transaction or in one of our own."""


class Task(JobHooks, Generic[P, R]):
    """A function that runs as a job. Calling it runs the function here and now, as written.

    `enqueue` takes the function's own arguments and uses a connection of pgqueue's own: such a
    job is *not* part of the caller's transaction. `using(connection).enqueue` is.

    Attributes:
        name: what jobs, workers and people know it by.
        function: the handler.
        is_async: whether calling it gives a coroutine.
        executor: where a worker runs it: "async", "thread" or "process".
        max_rss: MiB of resident memory that its process may have; None for no limit.
        required, accepted: names of arguments that a call must have, and may have.
        takes_context: whether its first parameter is the JobContext.
        arguments, returns: convert arguments and result; None where they are JSON as they are.
        redaction: which arguments nobody is shown.
        keeps_result: whether what the handler returns is stored.
        codec: encrypts and opens arguments and results, as the app's.
        retention: seconds for which its jobs are kept after their end, by state, None for ever;
            without a state, the app's.
        ephemeral: whether a job that succeeds is deleted at once.
        around: what a worker calls instead of the handler; None without middleware.
    """

    takes_context = False
    around: Call | None = None

    def __init__(
        self,
        app: TaskHome,
        function: Callable[..., R],
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        timeout: float | timedelta | None = None,
        executor: ExecutorName | None = None,
        max_rss: int | None = None,
        retry: RetryRule = DEFAULT_RETRY,
        dead_on: tuple[type[BaseException], ...] = (),
        retention: Retention = _NOT_SAID,
        ephemeral: bool = False,
        transactional: Transactional = False,
        version: int = 1,
        ttl: float | timedelta | None = None,
        result: bool = True,
        upgrade: Mapping[int, Upgrade] | None = None,
        redact: Collection[str] = (),
        middleware: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self.app = app
        self.function: Callable[..., R] = function
        self.signature = handler.handler_signature(function)
        self.required, self.accepted = handler.parameter_names(self.signature, self.takes_context)
        self.is_async = handler.is_async(function)
        self.name = handler.task_name(function) if name is None else name
        self.queue, self.priority, self.max_attempts = queue, priority, max_attempts
        self.timeout, self.version = timeout, version
        self.transactional = checked_transactional(self.name, transactional)
        self.ttl, self.keeps_result = ttl, result
        self.executor = handler.executor_name(self.name, self.is_async, executor, max_rss)
        self.max_rss = max_rss
        self.upgrade = _checked_upgrade(self.name, version, upgrade or {})
        self.redaction = Redaction(app.redact | frozenset(Redaction(redact).names))
        self._mark = self.redaction.mark()
        self.arguments, self.returns = self._converters()
        self.codec = app.codec
        self.retry: RetryRule = _checked_rule(self.name, retry)
        self.dead_on = _checked_exceptions(self.name, dead_on)
        self.retention = _checked_retention(self.name, retention, ephemeral=ephemeral)
        self.ephemeral = ephemeral
        self.layers = layered.layers(self.name, middleware, is_async=self.is_async)
        self.surround()
        update_wrapper(self, function)
        contract.encode(self.new_job({}, {}), limit=app.settings.max_payload)

    def _converters(self) -> tuple[arguments.Arguments | None, Converter | None]:
        owner, parameters = handler.describe(self.function), self.signature.parameters.values()
        stored = list(parameters)[1 if self.takes_context else 0 :]
        compiled = arguments.compile_arguments(self.function, stored, self.redaction, owner)
        if not self.keeps_result:
            return compiled, None
        hint = self.signature.return_annotation
        return compiled, arguments.compile_result(self.function, hint, owner)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def call(self, context: JobContext, args: dict[str, Any]) -> R:
        """Run the handler with stored arguments, as a worker does."""
        del context
        return self.function(**args)

    def surround(self) -> None:
        """Put the app's middleware, as it is now, and the task's own round the handler."""
        layers = (*self.app.layers, *self.layers)
        self.around = layered.around(self.call, layers, is_async=self.is_async)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue in a transaction of pgqueue's own: committed when this returns.

        Raises:
            TypeError: the function does not take these arguments.
            InvalidPayload: JSON cannot hold them.
            ConnectionFailed: the database does not answer.
        """
        return self.using().enqueue(*args, **kwargs)

    delay = enqueue

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """As `enqueue`, without blocking the event loop."""
        return await self.using().aenqueue(*args, **kwargs)

    def using(
        self,
        connection: Any = None,
        *,
        require_transaction: bool | None = None,
        **options: Unpack[JobOptions],
    ) -> BoundTask[P, R]:
        """This task with a transaction and options for the jobs of this call.

        Args:
            connection: whose transaction the jobs belong to: a connection of psycopg, asyncpg,
                psycopg2, pg8000, SQLAlchemy or Django, or an ORM session, sync or async; None for
                a transaction of pgqueue's own.
            require_transaction: refuse a connection in autocommit that has not begun, and None;
                by default as Settings.require_transaction says.
            options: see JobOptions.
        """
        given = chosen(options)
        producer = self.app.producer(connection, require_transaction)
        return BoundTask(self, producer.waiting(given.pop("wait_when_full", None)), given)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """The job that `enqueue` would enqueue: a value, for `enqueue_many`."""
        return self.new_job(self.bind(args, kwargs), {})

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, as JSON data.

        Raises:
            TypeError: the function does not take these arguments.
            InvalidPayload: a value does not fit its parameter's annotation.
        """
        try:
            bound = handler.bind(self.signature, self.takes_context, args, kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        if self.arguments is not None:
            self.arguments.encode(bound)
        return bound

    def read_result(self, result: Any) -> Any:
        """What the handler returned, of the type it is annotated with, from a JobView's `result`.

        Raises:
            InvalidPayload: it does not fit the annotation.
        """
        if result is None or self.returns is None:
            return result
        return arguments.read_result(self.returns, result)

    def new_job(self, args: dict[str, Any], options: Mapping[str, Any]) -> NewJob:
        """A job of this task: its own defaults, and over them the options of a call."""
        defaults: dict[str, Any] = {
            "queue": self.queue,
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "timeout": self.timeout,
        }
        if self.ttl is not None and "expires_at" not in options:
            defaults["ttl"] = self.ttl
        if self._mark or carrying.travels(self.app.carried):
            meta = carrying.packed(options.get("meta"), self._mark, self.app.carried)
            options = {**options, "meta": meta}
        return NewJob(task=self.name, version=self.version, args=args, **{**defaults, **options})


class ContextTask(Task[P, R]):
    """A task whose function takes the JobContext first; P is what follows it."""

    takes_context = True

    def __call__(  # type: ignore[override]  # a direct call passes the context too
        self, context: JobContext, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return self.function(context, *args, **kwargs)

    def call(self, context: JobContext, args: dict[str, Any]) -> R:
        """Run the handler with its context and stored arguments, as a worker does."""
        return self.function(context, **args)


class BoundTask(Generic[P, R]):
    """A task with a transaction and options; see `Task.using`."""

    def __init__(self, task: Task[P, R], producer: Producer, options: Mapping[str, Any]) -> None:
        self._task, self._producer, self._options = task, producer, options

    def job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """The job that `enqueue` would enqueue."""
        return self._task.new_job(self._task.bind(args, kwargs), self._options)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue in the transaction of the connection: if it rolls back, there was no job.

        Raises:
            TypeError: the function does not take these arguments, or the connection is async.
            InvalidJob: an option or an argument is not acceptable; raised before any SQL.
            AlreadyEnqueued: another job holds the key, and `on_conflict` is "raise".
            QueueFull: the queue has reached its `max_depth`.
            TransactionUnusable: the transaction is aborted, read-only or closed.
        """
        return self._producer.one(self.job(*args, **kwargs))

    delay = enqueue

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """As `enqueue`, on an async connection."""
        return await self._producer.aone(self.job(*args, **kwargs))


def _checked_rule(name: str, rule: Any) -> RetryRule:
    if not callable(rule):
        raise ConfigError(
            f"{name}: retry={rule!r} is not a rule: pass exponential(...), linear(...), "
            "fixed(...) or a function from the attempt's number to seconds"
        )
    checked: RetryRule = rule
    return checked


def _checked_upgrade(
    name: str, version: int, upgrade: Mapping[int, Upgrade]
) -> Mapping[int, Upgrade]:
    for each, step in upgrade.items():
        known = type(version) is int and type(each) is int and 1 <= each < version
        if not known or not callable(step):
            raise ConfigError(
                f"{name}: upgrade={{{each!r}: {step!r}}} does not fit version={version!r}: give "
                f"functions from the arguments of a version to those of the next, by the old one"
            )
    return dict(upgrade)


def _checked_retention(
    name: str, given: Retention, *, ephemeral: bool
) -> Mapping[State, float | None]:
    if ephemeral and isinstance(given, Mapping) and "succeeded" in given:
        raise ConfigError(
            f"{name}: retention['succeeded'] has no meaning with ephemeral=True: a job that "
            "succeeds is deleted at once; leave one of the two out"
        )
    return by_state(f"{name}: retention", given)


def _checked_exceptions(name: str, dead_on: Any) -> tuple[type[BaseException], ...]:
    classes = dead_on if isinstance(dead_on, tuple) else (dead_on,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigError(f"{name}: dead_on={dead_on!r} must be a tuple of exception classes")
    return classes
