"""The options of a task and of one enqueue, named and typed once for every call that takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from pgqueue.keys import FromArgs, OnConflict, Until
    from pgqueue.retention import Retention
    from pgqueue.retry import RetryRule

Transactional = Literal[False, True, "session", "connection"]
"""On what a task's handler shares a transaction with the job's finish; False: on nothing."""
ExecutorName = Literal["async", "thread", "process"]


class TaskOptions(TypedDict, total=False):
    """What `@app.task` takes.

    Attributes:
        name: stored in every job; by default `module.qualname`. Renaming the function is then
            renaming the task: jobs under the old name wait for a worker that knows it.
        queue: where its jobs go.
        priority: -100 to 100, larger first.
        max_attempts: failures until a job is dead, 1 to 10000.
        timeout: seconds for one attempt, or a timedelta; None for no limit.
        executor: where its handler runs: "async", "thread" or "process"; by default as the
            function is: coroutines on the event loop, plain functions in threads. "process" is
            for plain functions: a child process of the worker, which can be killed.
        max_rss: MiB of resident memory that its process may have; for executor="process".
        retry: how long to wait after a failure.
        dead_on: exceptions after which no retry can help.
        retention: how long its jobs are kept after their end, in seconds or as a timedelta, None
            for ever: one time for all final states, or by state; what it does not say, the app's
            Settings.retention does.
        ephemeral: a job that succeeds is deleted at once, with its result; all others stay.
        transactional: the handler's writes and the job's finish are one commit: on psycopg
            (True: `context.connection`), an ORM session ("session": `context.session`) or a
            SQLAlchemy connection ("connection": `context.sa_connection`).
        version: of the arguments; kept with the job. A worker gives back what is newer.
        ttl: seconds, or a timedelta, from when a job is due: one not started by then expires.
        result: False keeps nothing of what the handler returns, whatever that is.
        upgrade: by version, what makes arguments of the next version of those: stored JSON
            objects, the whole of them.
        redact: arguments that are shown as `***`: a name at any depth, or a path from the top.
        middleware: round its handler, inside of the app's; see `PgQueue.middleware`.
    """

    name: str | None
    queue: str
    priority: int
    max_attempts: int
    timeout: float | timedelta | None
    executor: ExecutorName | None
    max_rss: int | None
    retry: RetryRule
    dead_on: tuple[type[BaseException], ...]
    retention: Retention
    ephemeral: bool
    transactional: Transactional
    version: int
    ttl: float | timedelta | None
    result: bool
    upgrade: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
    redact: Collection[str]
    middleware: Sequence[Callable[..., Any]]


class JobOptions(TypedDict, total=False):
    """What `using` takes: options of the jobs of this call. None is the task's own default.

    Attributes:
        queue: as of the task.
        priority: as of the task.
        delay: seconds, or a timedelta, until the job is due; not together with `run_at`.
        run_at: when the job is due, with a time zone.
        expires_at: the job is not started after this time; instead of the task's `ttl`.
        ttl: as of the task; not together with `expires_at`.
        max_attempts: as of the task.
        timeout: as of the task; None here means no limit, whatever the task says.
        key: the job is unique by this text, or by arguments: `from_args(...)`.
        key_scope: where the key is unique; by default among jobs of the task.
        unique_for: seconds, or a timedelta, from the enqueue on, for which the key is held,
            whatever becomes of the job.
        until: "finished" (the default without `unique_for`): held until the job is final, through
            retries and rescues; "started": until its first attempt begins. With `unique_for` as
            well, the key is free as soon as one of the two is over.
        on_conflict: what happens when another job holds the key: "existing" (the default) answers
            with that job; "raise" raises AlreadyEnqueued; "replace" gives it these arguments,
            `meta` and version; "reschedule" besides this due time and `expires_at`. Only a job that
            has not started is changed; the handle's `changed` says what was done.
        wait_when_full: seconds, or a timedelta, to wait for room in a queue that is full, before
            QueueFull is raised; None raises at once. Not with a connection.
        meta: a JSON object that handlers see in their context, for tracing and the like.
    """

    queue: str | None
    priority: int | None
    delay: float | timedelta | None
    run_at: datetime | None
    expires_at: datetime | None
    ttl: float | timedelta | None
    max_attempts: int | None
    timeout: float | timedelta | None
    key: str | FromArgs | None
    key_scope: str | None
    unique_for: float | timedelta | None
    until: Until | None
    on_conflict: OnConflict | None
    wait_when_full: float | timedelta | None
    meta: Mapping[str, Any] | None


def checked_transactional(name: str, value: Any) -> Transactional:
    """What a task says of its transaction.

    Raises:
        ConfigError: something unknown.
    """
    known = get_args(Transactional)
    for each in known:
        if value is each or (isinstance(value, str) and value == each):
            checked: Transactional = each
            return checked
    raise ConfigError(f"{name}: transactional={value!r}: expected one of {known}")


def checked_factory(name: str, factory: Any) -> Any:
    """What makes sessions, as PgQueue was given it.

    Raises:
        ConfigError: it cannot be called.
    """
    if factory is not None and not callable(factory):
        raise ConfigError(
            f"PgQueue({name}={factory!r}): expected what makes a session when called, such as a "
            "sessionmaker; of an engine: sessionmaker(engine), async_sessionmaker(engine)"
        )
    return factory


def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were set.

    Raises:
        TypeError: an option that does not exist.
    """
    unknown = sorted(options.keys() - JobOptions.__optional_keys__)
    if unknown:
        known = ", ".join(sorted(JobOptions.__optional_keys__))
        raise TypeError(f"using() has no option {unknown[0]!r}; it takes {known}")
    return {
        name: value for name, value in options.items() if value is not None or name == "timeout"
    }


class RequeueOptions(TypedDict, total=False):
    """What `app.requeue` takes besides the job.

    Attributes:
        args: new arguments, all of them; checked like those of an enqueue.
        set_args: new values of some arguments; the others stay. Not together with `args`.
        by: who asks, kept with the requeue; by default the database role.
    """

    args: Mapping[str, Any] | None
    set_args: Mapping[str, Any] | None
    by: str | None
