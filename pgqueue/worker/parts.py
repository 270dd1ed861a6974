"""What the parts of a worker say to each other; none of them imports another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.context import JobContext
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Outcome
    from pgqueue.tasks import Task

Why = Literal["cancel", "lost", "stop", "timeout"]
"""Why a running handler should end: cancel was asked for, the lease was lost, the worker stops,
the job ran longer than it may."""


@dataclass(slots=True, eq=False)
class Attempt:
    """A claimed job on its way through one worker.

    `why` is set once somebody wants it to end early; the executor reads it when it does.
    """

    job: ClaimedJob
    task: Task[..., object]
    context: JobContext | None = None
    why: Why | None = None
    started: bool = False
    slot: int = field(default=-1, repr=False)

    @property
    def key(self) -> tuple[int, int]:
        """(id, lease): what an outcome is recorded under."""
        return self.job.id, self.job.lease


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
