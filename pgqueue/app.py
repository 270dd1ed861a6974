"""The app: the application's handle, with its DSN, its settings and its registry of tasks."""

from __future__ import annotations

import os
from functools import cached_property
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from pgqueue import handler
from pgqueue.bulk import Bulk
from pgqueue.client import OwnConnections, Producer
from pgqueue.config import Settings, resolve_dsn
from pgqueue.errors import ConfigError, UnknownTask
from pgqueue.handle import id_of
from pgqueue.operating import Operating
from pgqueue.options import checked_factory, chosen
from pgqueue.payload import SizeWatch
from pgqueue.redaction import Redaction
from pgqueue.results import Results, Waiting
from pgqueue.surroundings import Surroundings
from pgqueue.tasks import BoundTask, ContextTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from pgqueue.codec import Codec
    from pgqueue.context import JobContext
    from pgqueue.handle import JobHandle
    from pgqueue.inspection import Inspector
    from pgqueue.options import JobOptions, TaskOptions
    from pgqueue.views import JobView

P = ParamSpec("P")
R = TypeVar("R")


class Enqueuer(Bulk):
    """What an app, and an app bound to a connection, have in common: they enqueue."""

    def __init__(self, app: PgQueue, producer: Producer, options: Mapping[str, Any]) -> None:
        super().__init__(producer, options)
        self._app = app

    @overload
    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    def enqueue(
        self,
        task: Callable[Concatenate[JobContext, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobHandle[R]: ...
    @overload
    def enqueue(
        self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    def enqueue(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """Enqueue a call of a task, or of the function that was registered as one.

        Raises:
            UnknownTask: it is not registered with this app.
            As `BoundTask.enqueue`.
        """
        return self._bound(task).enqueue(*args, **kwargs)

    @overload
    async def aenqueue(
        self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    async def aenqueue(
        self,
        task: Callable[Concatenate[JobContext, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobHandle[R]: ...
    @overload
    async def aenqueue(
        self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    async def aenqueue(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """As `enqueue`, on an async connection; without a connection, in a thread."""
        return await self._bound(task).aenqueue(*args, **kwargs)

    def _bound(self, task: Callable[..., Any]) -> BoundTask[..., Any]:
        return BoundTask(self._app.find(task), self._producer, self._options)


class TaskDecorator(Protocol):
    """What `@app.task(...)` is: it makes a function a task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, P], R], /
    ) -> ContextTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class PgQueue(Surroundings, Operating, Enqueuer, Waiting):
    """The application's handle on its jobs.

    Making one touches no database: it can stand at a module's top level. The pool opens at the
    first enqueue without a caller's connection, and again in each forked process.

    Args:
        dsn: as libpq reads it; by default PGQUEUE_DATABASE_URL, DATABASE_URL, or PG*.
        settings: limits and defaults.
        codec: encrypts arguments and results, such as `pgqueue.crypto.AesGcmCodec`.
        redact: arguments of every task that nobody is shown; see TaskOptions.
        sessions: a `sessionmaker`, or whatever makes a Session when called: for tasks that are
            transactional on SQLAlchemy. Without it they get sessions of an engine of ours.
        asessions: as `sessions`, an `async_sessionmaker`, for those that are `async def`.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        settings: Settings | None = None,
        codec: Codec | None = None,
        redact: Collection[str] = (),
        sessions: Callable[[], Session] | None = None,
        asessions: Callable[[], AsyncSession] | None = None,
    ) -> None:
        self.sessions = checked_factory("sessions", sessions)
        self.asessions = checked_factory("asessions", asessions)
        self.settings = settings or Settings()
        self.codec = codec
        self.redact = frozenset(Redaction(redact).names)
        self._watch = SizeWatch(self.settings.warn_payload)
        self._given_dsn = dsn
        self._tasks: dict[str, Task[..., Any]] = {}
        self._own = OwnConnections(lambda: self.dsn, self.settings)
        self._results = Results(self._own, self._listen_dsn, self.settings, codec, self._tasks)
        super().__init__(self, self.producer(None), {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """The DSN that this app uses; the empty string when libpq's PG* variables decide.

        Raises:
            ConfigError: nothing says where the database is.
        """
        return resolve_dsn(self._given_dsn, os.environ)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The registered tasks by name."""
        return MappingProxyType(self._tasks)

    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], R], /) -> ContextTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task, as `@app.task` or `@app.task(queue="mail", ...)`.

        Args:
            function: plain or `async def`; a first parameter annotated JobContext gets the
                context of the running job, and is not an argument of enqueue.
            options: see TaskOptions.

        Raises:
            ConfigError: the function cannot be a task, or its name is taken.
            InvalidJob: an option is out of range.
        """
        if function is None:
            return lambda function: self._register(function, options)
        return self._register(function, options)

    def using(
        self,
        connection: Any = None,
        *,
        require_transaction: bool | None = None,
        **options: Unpack[JobOptions],
    ) -> Enqueuer:
        """This app with a transaction, and options for each job; see `Task.using`."""
        given = chosen(options)
        producer = self.producer(connection, require_transaction)
        return Enqueuer(self, producer.waiting(given.pop("wait_when_full", None)), given)

    def producer(self, connection: Any, require_transaction: bool | None = None) -> Producer:
        """What brings this app's jobs to the database, in the connection's transaction."""
        if require_transaction is None:
            require_transaction = self.settings.require_transaction
        return Producer(
            self._own,
            self.settings.max_payload,
            connection,
            require_transaction,
            self._watch,
            self.codec,
            awaiting=self._results,
        )

    def find(self, function: Callable[..., Any]) -> Task[..., Any]:
        """The task that a function was registered as.

        Raises:
            UnknownTask: it is not registered with this app.
        """
        for task in self._tasks.values():
            if function is task or function is task.function:
                return task
        raise UnknownTask(
            f"{handler.describe(function)} is not a task of this app: put @app.task above it, "
            "or enqueue what app.task(function) returns"
        )

    @cached_property
    def inspector(self) -> Inspector:
        """Lists jobs, and counts them; see `inspection.Inspector`."""
        from pgqueue.inspection import Inspector  # noqa: PLC0415 - producers need no SQLAlchemy

        return Inspector(self.dsn, self.settings, self.codec)

    def job(self, job: JobHandle | int) -> JobView:
        """Everything that is known about a job.

        Raises:
            JobNotFound: no job has that id.
        """
        return self.inspector.job(id_of(job))

    def close(self) -> None:
        """Close the connections of this process; a later enqueue opens new ones."""
        self._results.close()
        self._own.close()

    def _listen_dsn(self) -> str:
        return self.settings.listen_dsn or self.dsn

    def _register(self, function: Callable[..., Any], options: Any) -> Task[..., Any]:
        if isinstance(function, Task):
            raise ConfigError(f"{function!r} is a task already")
        signature = handler.handler_signature(function)
        kind = ContextTask if handler.wants_context(function, signature) else Task
        task: Task[..., Any] = kind(self, function, **options)
        taken = self._tasks.get(task.name)
        if taken is not None:
            raise ConfigError(
                f"the task name {task.name!r} is taken by {handler.describe(taken.function)}; "
                f"{handler.describe(function)} needs another: @app.task(name=...)"
            )
        self._tasks[task.name] = task
        return task
