"""What the parts of a worker say to each other; none of them imports another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from pgqueue.context import JobContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.durable import Keeper
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Outcome
    from pgqueue.tasks import Task
    from pgqueue.worker.reports import Reports

Why = Literal["cancel", "lost", "stop", "timeout"]
"""Why a running handler should end: cancel was asked for, the lease was lost, the worker stops,
the job ran longer than it may."""


_NO_ARGS: Final[dict[str, Any]] = {}


class Attempt:
    """A claimed job on its way through one worker.

    Attributes:
        key: (id, lease), what its outcome is recorded under.
        stored: its arguments as decoded together with those of other jobs; None if they were not.
        meta: as decoded; None where there is none.
        args: what the handler is called with; unset until they are prepared.
        why: set once somebody wants it to end early; the executor reads it when it does.
        slot: where the board shows that it runs.
        reports: takes what the handler says of its progress.
        keeper: keeps the results of its steps.
    """

    # Defaults of the class, and not set for each: an attempt is made half as fast otherwise.
    meta: dict[str, Any] | None = None
    stored: Any = None
    why: Why | None = None
    started = False
    slot = -1
    _context: JobContext | None = None

    def __init__(
        self,
        job: ClaimedJob,
        task: Task[..., object],
        reports: Reports | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.job, self.task, self.reports, self.keeper = job, task, reports, keeper
        self.key = job[:2]
        self.args: dict[str, Any]

    def context(self) -> JobContext:
        """What the handler can know of its job; made when somebody asks."""
        if self._context is None:
            job = self.job
            made = JobContext(
                id=job.id,
                task=job.task,
                queue=job.queue,
                attempt=job.attempt,
                max_attempts=job.max_attempts,
                lease=job.lease,
                meta=self.meta or {},
                args=getattr(self, "args", _NO_ARGS),
                report=partial(self.reports.say, self.key) if self.reports is not None else None,
                keeper=self.keeper,
            )
            # Atomic: whoever asks to end it may be the second one who needs it now.
            return self.__dict__.setdefault("_context", made)  # type: ignore[no-any-return]
        return self._context

    def starting(self) -> None:
        """Say that the handler is about to start; for an executor that calls it elsewhere."""

    def call(self, args: dict[str, Any]) -> Any:
        """Call the handler, in its middleware; what it returns, or its coroutine."""
        task = self.task
        if task.around is None and not task.takes_context:
            return task.function(**args)
        context = self.context()
        context.args = args
        return (task.around or task.call)(context, args)

    def end(self, why: Why) -> None:
        """Say that it should end, and let its handler see that."""
        self.why = why
        self.context().cancel()


class Outbox(Protocol):
    """Where executors put outcomes; safe from any thread."""

    def __call__(self, outcome: Outcome) -> None:
        """Hand an outcome over."""


class Executor(Protocol):
    """Runs handlers of one kind. Only the exchange calls it, from one thread."""

    name: str

    def room(self) -> int:
        """How many more attempts it takes now; negative when it has more than it wants."""

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Take attempts over, to run them in this order as slots come free."""

    def cancel(self, attempt: Attempt, why: Why) -> None:
        """Ask an attempt to end; one that has not started never will, and its outcome says so."""

    def unstarted(self, older_than: float) -> list[Attempt]:
        """Give back attempts that have waited for a slot for more than so many seconds."""

    def in_hand(self) -> int:
        """How many attempts it has, running or waiting."""

    def close(self) -> None:
        """Start nothing more, and give up what it can; does not wait for handlers."""
