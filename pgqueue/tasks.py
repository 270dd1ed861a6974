"""Tasks: a function under a stable name, with its defaults.

Bound to a transaction and to options a Task is a BoundTask. Each makes a NewJob of a call, and
client.Producer brings that to the database.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

from pgqueue import handler
from pgqueue.enqueue import contract
from pgqueue.errors import ConfigError
from pgqueue.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, NewJob
from pgqueue.options import chosen
from pgqueue.retry import DEFAULT_RETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from typing import Unpack

    from pgqueue.client import JobHandle, Producer
    from pgqueue.config import Settings
    from pgqueue.context import JobContext
    from pgqueue.options import JobOptions
    from pgqueue.retry import RetryRule

P = ParamSpec("P")
R = TypeVar("R")


class TaskHome(Protocol):
    """What a task needs of the app that registered it."""

    settings: Settings

    def producer(self, connection: Any) -> Producer:
        """The way to the database, in a connection's transaction or in one of our own."""


class Task(Generic[P, R]):
    """A function that runs as a job. Calling it runs the function here and now, as written.

    `enqueue` takes the function's own arguments and uses a connection of pgqueue's own: such a
    job is *not* part of the caller's transaction. `using(connection).enqueue` is.

    Attributes:
        name: what jobs, workers and people know it by.
        function: the handler.
        is_async: whether it runs on the worker's event loop.
        required, accepted: names of arguments that a call must have, and may have.
        takes_context: whether its first parameter is the JobContext.
    """

    takes_context = False

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
        retry: RetryRule = DEFAULT_RETRY,
        dead_on: tuple[type[BaseException], ...] = (),
        transactional: bool = False,
        version: int = 1,
    ) -> None:
        self.app = app
        self.function: Callable[..., R] = function
        self.signature = handler.handler_signature(function)
        self.required, self.accepted = handler.parameter_names(self.signature, self.takes_context)
        self.is_async = handler.is_async(function)
        self.name = handler.task_name(function) if name is None else name
        self.queue, self.priority, self.max_attempts = queue, priority, max_attempts
        self.timeout, self.version, self.transactional = timeout, version, transactional
        self.retry: RetryRule = _checked_rule(self.name, retry)
        self.dead_on = _checked_exceptions(self.name, dead_on)
        update_wrapper(self, function)
        contract.encode(self.new_job({}, {}), limit=app.settings.max_payload)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def call(self, context: JobContext, args: dict[str, Any]) -> R:
        """Run the handler with stored arguments, as a worker does."""
        del context
        return self.function(**args)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Enqueue in a transaction of pgqueue's own: committed when this returns.

        Raises:
            TypeError: the function does not take these arguments.
            InvalidPayload: JSON cannot hold them.
            ConnectionFailed: the database does not answer.
        """
        return self.using().enqueue(*args, **kwargs)

    delay = enqueue

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """As `enqueue`, without blocking the event loop."""
        return await self.using().aenqueue(*args, **kwargs)

    def using(self, connection: Any = None, **options: Unpack[JobOptions]) -> BoundTask[P, R]:
        """This task with a transaction and options for the jobs of this call.

        Args:
            connection: whose transaction the jobs belong to: a psycopg or SQLAlchemy connection
                or an ORM session, sync or async; None for a transaction of pgqueue's own.
            options: see JobOptions.
        """
        given = chosen(options)
        producer = self.app.producer(connection).waiting(given.pop("wait_when_full", None))
        return BoundTask(self, producer, given)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """The job that `enqueue` would enqueue: a value, for `enqueue_many`."""
        return self.new_job(self.bind(args, kwargs), {})

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name.

        Raises:
            TypeError: the function does not take these arguments.
        """
        try:
            return handler.bind(self.signature, self.takes_context, args, kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None

    def new_job(self, args: dict[str, Any], options: Mapping[str, Any]) -> NewJob:
        """A job of this task: its own defaults, and over them the options of a call."""
        defaults: dict[str, Any] = {
            "queue": self.queue,
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "timeout": self.timeout,
        }
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

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
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

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
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


def _checked_exceptions(name: str, dead_on: Any) -> tuple[type[BaseException], ...]:
    classes = dead_on if isinstance(dead_on, tuple) else (dead_on,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigError(f"{name}: dead_on={dead_on!r} must be a tuple of exception classes")
    return classes
