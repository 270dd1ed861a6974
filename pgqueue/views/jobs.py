"""Jobs as people and programs see them: in lists, and one with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgqueue.job import State


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as lists show it.

    Attributes:
        waiting: `run_at` lies in the future, by the database's clock.
        args: JSON text, cut at 200 characters.
    """

    id: int
    queue: str
    task: str
    state: State
    priority: int
    attempt: int
    max_attempts: int
    run_at: datetime
    waiting: bool
    created_at: datetime
    finished_at: datetime | None
    args: str

    @property
    def shown_state(self) -> str:
        """The state in words: a ready job whose time has not come is waiting, or retrying."""
        return shown_state(self.state, self.run_at, waiting=self.waiting, attempt=self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """An attempt that did not succeed, and why; or, as outcome `requeued`, a requeue.

    Attributes:
        fingerprint: the same for the same error of other jobs; None of a requeue.
        actor: who requeued it.
        old_args: the arguments that a requeue replaced; None when it left them as they were.
    """

    lease: int
    attempt: int
    outcome: str
    worker: str | None
    started_at: datetime | None
    finished_at: datetime
    error_type: str | None
    message: str | None
    traceback: str | None
    fingerprint: str | None = None
    actor: str | None = None
    old_args: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """How far a job is, or was, as its handler said.

    Attributes:
        done, total: in units of the handler's; total None where it is not known.
        lease: of the attempt that said so: the job's own while that runs.
        age: seconds since then, by the database's clock.
    """

    done: float
    total: float | None
    message: str | None
    lease: int
    reported_at: datetime
    age: float

    @property
    def share(self) -> float | None:
        """0 to 1, where that can be said."""
        if not self.total:
            return None if self.total is None else 1.0
        return min(self.done / self.total, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """Everything that is known about a job.

    Attributes:
        read_at: when this was read, by the database's clock.
        waiting: `run_at` lies in the future, by the same clock.
        args: decoded; as text where it cannot be decoded.
        attempts: those that did not succeed, and the requeues between them, oldest first.
        requeues: how often it was requeued.
        progress: what its handler said last; None where none said anything.
    """

    id: int
    queue: str
    task: str
    version: int
    state: State
    priority: int
    attempt: int
    max_attempts: int
    crash_count: int
    suspect: bool
    lease: int
    worker_id: int | None
    timeout: float | None
    key: str | None
    key_scope: str | None
    created_at: datetime
    run_at: datetime
    waiting: bool
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    read_at: datetime = field(compare=False)
    args: Any
    meta: Any
    result: Any
    attempts: Sequence[AttemptView] = ()
    requeues: int = 0
    progress: ProgressView | None = None

    @property
    def shown_state(self) -> str:
        """The state in words: a ready job whose time has not come is waiting, or retrying."""
        return shown_state(self.state, self.run_at, waiting=self.waiting, attempt=self.attempt)


def shown_state(state: State, run_at: datetime, *, waiting: bool, attempt: int) -> str:
    """A state as people read it."""
    if state != "ready" or not waiting:
        return state
    word = "retrying at" if attempt else "waiting until"
    return f"{word} {run_at.astimezone():%Y-%m-%d %H:%M:%S}"
