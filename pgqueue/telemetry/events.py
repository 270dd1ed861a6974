"""What happens in a worker, as plain values; whoever wants to know listens.

A listener that raises is reported and harms nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

log: Final = logging.getLogger("pgqueue")


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker is registered and looks for work."""

    worker_id: int
    name: str
    queues: tuple[str, ...]
    concurrency: int
    threads: int
    children: int


@dataclass(frozen=True, slots=True)
class WorkerStopping:
    """A worker claims nothing more; `running` handlers may still end."""

    worker_id: int
    running: int
    timeout: float


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker is off the list; `cut` handlers were ended by force."""

    worker_id: int
    cut: int


@dataclass(frozen=True, slots=True)
class WorkerBroken:
    """A part of a worker failed by an error of pgqueue's own: it ends, and others take its jobs."""

    worker_id: int
    exception: BaseException = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SupervisorBroken:
    """A supervisor failed by an error of pgqueue's own: it stops its workers, and ends."""

    exception: BaseException = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The supervisor saw a worker's process end without being asked to."""

    worker_id: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRetiring:
    """A worker claims nothing more, ends with its last handler, and is replaced."""

    worker_id: int
    reason: str
    running: int


@dataclass(frozen=True, slots=True)
class WorkerFenced:
    """A worker found out that others take it for dead: it drops all and starts anew."""

    worker_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobFailed:
    """An attempt failed; the job is retried after `delay` seconds, or dead when that is None."""

    job_id: int
    task: str
    attempt: int
    error_type: str
    message: str
    delay: float | None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class HandlerStuck:
    """A handler did not end when it was asked to: its slot is written off, and it runs on."""

    job_id: int
    task: str
    executor: str
    why: str


@dataclass(frozen=True, slots=True)
class StuckHandlerEnded:
    """A handler that was written off has ended after all; what it says is dropped."""

    job_id: int
    task: str


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """A handler blocks the event loop, and with it every other coroutine of its worker.

    `job_id` and `task` are None where the loop runs something that no handler is known for.
    """

    job_id: int | None
    task: str | None
    seconds: float
    where: str


@dataclass(frozen=True, slots=True)
class LoopInterrupted:
    """What a handler started, beside itself, has stopped the event loop, which goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class ChildFailed:
    """A child process ended before it could take a job; another is started after a pause."""

    reason: str
    pause: float


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """An outcome was dropped: somebody else had ended the lease."""

    job_id: int
    lease: int


@dataclass(frozen=True, slots=True)
class TaskUnknown:
    """Jobs of a task that this worker does not know were given back.

    With a `version` it knows the task, but not in that version.
    """

    task: str
    count: int
    delay: float
    version: int | None = None


@dataclass(frozen=True, slots=True)
class JobsHeldBack:
    """Jobs that this worker cannot read were given back: their key is missing here."""

    task: str
    count: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class JobsRescued:
    """Jobs of a dead worker were taken from it; `dead` are those that killed too many processes."""

    worker_id: int
    name: str | None
    count: int
    dead: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobsExpired:
    """Jobs that nobody started in time were ended."""

    count: int
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JobsPruned:
    """Jobs past their retention were deleted in the last so many seconds."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PruneBehind:
    """More jobs come than prune deletes: the oldest are overdue; `rate` is of deletes a second."""

    overdue: float
    rate: float


@dataclass(frozen=True, slots=True)
class DeadJobsKept:
    """Dead jobs wait for somebody's decision; `more` when there are more than were counted."""

    count: int
    more: bool
    oldest: float


@dataclass(frozen=True, slots=True)
class QueueFilled:
    """A queue has reached its limit: producers are refused."""

    queue: str
    depth: int
    max_depth: int


@dataclass(frozen=True, slots=True)
class QueueDrained:
    """A queue that was full has room again."""

    queue: str
    depth: int
    max_depth: int


@dataclass(frozen=True, slots=True)
class DatabaseLost:
    """A part of the worker lost its connection, or a statement failed; it tries again."""

    part: str
    error: str
    pause: float


@dataclass(frozen=True, slots=True)
class DatabaseBack:
    """A part of the worker works with the database again."""

    part: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A maintenance step failed; it is tried again at its next turn."""

    step: str
    error: str


@dataclass(frozen=True, slots=True)
class HookFailed:
    """A hook raised; what it was told of is as it was."""

    hook: str
    job_id: int | None
    error: str
    exception: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class HookSlow:
    """A hook does not return, and `waiting` others are called only after it."""

    hook: str
    seconds: float
    waiting: int


@dataclass(frozen=True, slots=True)
class HooksDropped:
    """Hooks were not called: too many waited, or the worker ended before their turn."""

    count: int


Event = (
    WorkerStarted
    | WorkerStopping
    | WorkerStopped
    | WorkerDied
    | WorkerRetiring
    | WorkerFenced
    | JobFailed
    | HandlerStuck
    | StuckHandlerEnded
    | LoopBlocked
    | LoopInterrupted
    | ChildFailed
    | LeaseGone
    | TaskUnknown
    | JobsHeldBack
    | JobsRescued
    | JobsExpired
    | JobsPruned
    | PruneBehind
    | DeadJobsKept
    | QueueFilled
    | QueueDrained
    | DatabaseLost
    | DatabaseBack
    | StepFailed
    | HookFailed
    | WorkerBroken
    | SupervisorBroken
    | HookSlow
    | HooksDropped
)

Listener = Callable[[Event], None]


class Events:
    """Passes events on to listeners. Safe from any thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def __call__(self, event: Event) -> None:
        """Tell every listener, each apart from the others."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                # A log that fails, on a stream that a handler has closed, must end no worker.
                with contextlib.suppress(Exception):
                    log.exception("a listener failed on %s", type(event).__name__)
