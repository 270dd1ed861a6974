"""What a handler can know about the job it runs, and the connection it shares with its finish."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pgqueue.durable import Durable
from pgqueue.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

    from pgqueue.durable import Keeper

    Report = Callable[[float, float | None, str | None], None]
    """Takes what a handler says of its progress: done, total, message; checked, and never waits."""

MESSAGE_LENGTH: Final = 200
_MOST: Final = 1e300


@dataclass(slots=True)
class OwnTransaction:
    """The job's own transaction on SQLAlchemy, as its task declares it.

    Attributes:
        accessor: the name of the context's attribute that gives it.
        handle: the session or connection.
        run: (statement of pgqueue's, values) -> its rows; in an async task a coroutine of them.
    """

    accessor: str
    handle: Any
    run: Callable[[str, Mapping[str, Any]], Any]


@dataclass(slots=True)
class JobContext(Durable):
    """The running job, as its handler sees it.

    A handler gets it as its first parameter when that is annotated `JobContext`, or anywhere
    below through `current_job()`.

    Attributes:
        id: the job's id; stable over retries, so use it to deduplicate effects elsewhere.
        attempt: number of this attempt, from 1.
        lease: the fence of this attempt; grows at every change of the job's state.
        args: what the handler was called with, by name; to be read, not changed.
        report: where `progress` goes.
    """

    id: int
    task: str
    queue: str
    attempt: int
    max_attempts: int
    lease: int
    meta: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sync_connection: psycopg.Connection[Any] | None = field(default=None, repr=False)
    async_connection: psycopg.AsyncConnection[Any] | None = field(default=None, repr=False)
    report: Report | None = field(default=None, repr=False)
    own: OwnTransaction | None = field(default=None, repr=False)
    keeper: Keeper | None = field(default=None, repr=False)
    _cancelled: bool = field(default=False, repr=False)
    _steps: set[str] | None = field(default=None, repr=False)

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The job's own transaction, in a transactional `def` task.

        What is written through it commits together with the job's outcome, or not at all.

        Raises:
            TypeError: the task is not transactional, or it is `async def` (use `aconnection`).
        """
        if self.sync_connection is None:
            raise TypeError(self._no_connection("connection", "a plain def", "aconnection"))
        return self.sync_connection

    @property
    def aconnection(self) -> psycopg.AsyncConnection[Any]:
        """As `connection`, in a transactional `async def` task.

        Raises:
            TypeError: the task is not transactional, or it is a plain `def` (use `connection`).
        """
        if self.async_connection is None:
            raise TypeError(self._no_connection("aconnection", "an async def", "connection"))
        return self.async_connection

    @property
    def session(self) -> Session:
        """The job's own transaction, in a `def` task that is `transactional="session"`.

        An ORM session of `PgQueue(sessions=...)`. It is flushed and committed by the worker.

        Raises:
            TypeError: the task declares no such thing, or it is `async def` (use `asession`).
        """
        return self._handle("session", "a plain def", "asession")  # type: ignore[no-any-return]

    @property
    def asession(self) -> AsyncSession:
        """As `session`, in an `async def` task, of `PgQueue(asessions=...)`."""
        return self._handle("asession", "an async def", "session")  # type: ignore[no-any-return]

    @property
    def sa_connection(self) -> Connection:
        """The job's own transaction, in a `def` task that is `transactional="connection"`.

        A SQLAlchemy Connection of the engine of `PgQueue(sessions=...)`.

        Raises:
            TypeError: as `session`.
        """
        return self._handle("sa_connection", "a plain def", "asa_connection")  # type: ignore[no-any-return]

    @property
    def asa_connection(self) -> AsyncConnection:
        """As `sa_connection`, in an `async def` task."""
        return self._handle("asa_connection", "an async def", "sa_connection")  # type: ignore[no-any-return]

    def _handle(self, name: str, kind: str, other: str) -> Any:
        if self.own is None or self.own.accessor != name:
            raise TypeError(self._no_connection(name, kind, other))
        return self.own.handle

    @property
    def in_transaction(self) -> bool:
        """Whether the handler shares a transaction with its job's finish."""
        return (self.own or self.sync_connection or self.async_connection) is not None

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should end: cancel was asked for, or the lease was lost.

        A thread cannot be interrupted from outside, so a long `def` handler looks here.
        """
        return self._cancelled

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the job is, for people who watch it; from any thread, as often as you like.

        It never waits: the last word is written once a second, and with the job's outcome. Outside
        of a worker it does nothing.

        Args:
            done: how much is done, in units of your own; 0 or more.
            total: of how much; None where that is not known.
            message: what is going on; cut at 200 characters.

        Raises:
            ValueError: `done` or `total` is no number from 0 on.
        """
        _check_amount("done", done)
        if total is not None:
            _check_amount("total", total)
        if message is not None:
            message = _shown(message)
        if self.report is not None:
            self.report(done, total, message)

    def begin_step(self, name: str) -> None:
        """Note that this attempt runs a step.

        Raises:
            StepError: it has run one of this name.
        """
        if self._steps is None:
            self._steps = set()
        if name in self._steps:
            raise StepError(
                f"step {name!r} of {self.task} was run twice in one attempt: each needs a name of "
                "its own, such as f'mail-{number}' in a loop"
            )
        self._steps.add(name)

    def cancel(self) -> None:
        """Tell the handler that its attempt should end; from any thread."""
        self._cancelled = True

    def _no_connection(self, name: str, kind: str, other: str) -> str:
        has_other = self.sync_connection is not None or self.async_connection is not None
        if self.own is not None:
            other, has_other = self.own.accessor, True
        advice = f"use context.{other}" if has_other else f"declare it @app.task({DECLARED[name]})"
        return f"context.{name} belongs to {kind} task that is transactional; {self.task}: {advice}"


def _check_amount(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 <= value <= _MOST):  # type: ignore[operator]  # a number by now
        raise ValueError(f"progress: {name}={value!r} is refused; expected a number from 0 on")


def _shown(message: object) -> str:
    text = str(message)[:MESSAGE_LENGTH].replace("\x00", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8")


DECLARED: Final = {
    "connection": "transactional=True",
    "aconnection": "transactional=True",
    "session": 'transactional="session"',
    "asession": 'transactional="session"',
    "sa_connection": 'transactional="connection"',
    "asa_connection": 'transactional="connection"',
}
"""By attribute of the context, how a task is declared that has it."""


_current: ContextVar[Callable[[], JobContext] | None] = ContextVar("pgqueue_job", default=None)


def current_job() -> JobContext:
    """The job that the calling code runs for.

    Raises:
        LookupError: the caller does not run inside a handler.
    """
    context = running_job()
    if context is None:
        raise LookupError("current_job() was called outside of a job's handler")
    return context


def running_job() -> JobContext | None:
    """As `current_job`; None outside of a handler."""
    context = _current.get()
    return None if context is None else context()


def enter_job(context: Callable[[], JobContext]) -> None:
    """Make this what `current_job()` returns, from here on in this task or thread.

    A call, because most handlers never ask, and a context takes a microsecond to make.
    """
    _current.set(context)
