"""What tests see: a job, what came of running it, and what a drain did."""

from __future__ import annotations

import contextlib
import contextvars
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pgqueue import codec, payload
from pgqueue.errors import PgQueueError
from pgqueue.job import ClaimedJob
from pgqueue.views import ProgressView
from pgqueue.worker import execution
from pgqueue.worker.parts import Attempt
from pgqueue.worker.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Literal

    from pgqueue.app import PgQueue
    from pgqueue.job import State
    from pgqueue.tasks import Task

    Ended = Literal[
        "succeeded", "retried", "snoozed", "dead", "cancelled", "expired", "released", "lost"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenJob:
    """A job as the test's transaction sees it.

    Attributes:
        task: the task's name.
        args: of the handler's own types; JSON data where the app does not know the task.
        delay: seconds between its enqueue and `run_at`.
        result: of the type that the handler is annotated with.
        progress: what the handler said last of it, with `done`, `total`, `message`; None where none
            said anything.
    """

    id: int
    task: str
    args: Mapping[str, Any]
    version: int
    queue: str
    priority: int
    state: State
    attempt: int
    max_attempts: int
    timeout: float | None
    key: str | None
    key_scope: str | None
    lease: int
    run_at: datetime
    expires_at: datetime | None
    delay: float
    meta: Mapping[str, Any]
    result: Any
    progress: ProgressView | None
    shown: str = field(repr=False)

    def __str__(self) -> str:
        """The call and its options, without what is redacted."""
        return self.shown


@dataclass(frozen=True, slots=True)
class RanJob:
    """What one attempt came to.

    Attributes:
        outcome: how it ended: "succeeded"; "retried" (it failed and will run again), "snoozed",
            "dead", "cancelled", "expired"; "released": this app does not know its task, or lacks
            the key of its arguments; "lost": somebody else ended the job while it ran.
        job: the job afterwards; None when it is gone.
        delay: seconds until it runs again; 0 when it will not.
        error: what the handler raised, Retry, Snooze, Dead and Cancel included.
        hook_errors: what hooks raised that were told of this attempt.
    """

    id: int
    task: str
    outcome: Ended
    job: SeenJob | None
    delay: float = 0.0
    error: BaseException | None = None
    hook_errors: tuple[BaseException, ...] = ()

    @property
    def state(self) -> State | None:
        """The job's state now; None when it is gone."""
        return self.job.state if self.job else None

    @property
    def result(self) -> Any:
        """What the handler returned, as it is stored and read back."""
        return self.job.result if self.job else None

    @property
    def attempt(self) -> int:
        """Attempts that were spent so far."""
        return self.job.attempt if self.job else 0


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain ran, in order: one RanJob for each attempt."""

    runs: Sequence[RanJob]

    def __iter__(self) -> Iterator[RanJob]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> RanJob:
        return self.runs[index]

    def of(self, task: Task[..., Any]) -> list[RanJob]:
        """The attempts of one task."""
        return [ran for ran in self.runs if ran.task == task.name]

    @property
    def counts(self) -> dict[Ended, int]:
        """How many attempts ended in which way."""
        return dict(Counter(ran.outcome for ran in self.runs))


def seen(app: PgQueue, text: str) -> SeenJob:
    """A job of what testing_jobs.sql says of it."""
    row: dict[str, Any] = json.loads(text)
    for name in ("run_at", "expires_at"):
        row[name] = row[name] and datetime.fromisoformat(row[name])
    task = Registry(app.tasks).find(row["task"], row["version"])
    row["args"], row["meta"] = _decoded(row, task)
    row["result"] = _result(row, task)
    row["progress"] = _progress(row["progress"])
    row["shown"] = _shown(row, task)
    return SeenJob(**row)


def _decoded(row: dict[str, Any], task: Task[..., Any] | None) -> tuple[Any, Any]:
    if task is not None:
        values = {"suspect": False, "expired": False, "crash_count": 0, **row}
        attempt = Attempt(ClaimedJob(**{name: values[name] for name in ClaimedJob._fields}), task)
        # Of another version, or with a key that is missing: as it is stored.
        with contextlib.suppress(PgQueueError):
            # In a context of its own: what a job carries is for its handler.
            args = contextvars.copy_context().run(execution.prepare, attempt)
            return args, attempt.meta or {}
    return payload.decode(row["args"]), payload.decode(row["meta"])


def _result(row: dict[str, Any], task: Task[..., Any] | None) -> Any:
    if row["result"] is None:
        return None
    value = payload.decode(row["result"])
    if task is None:
        return value
    if codec.is_sealed(value):
        value = payload.decode(codec.opened(task.codec, value, f"result of {task.name}"))
    return task.read_result(value)


def _progress(said: dict[str, Any] | None) -> ProgressView | None:
    if said is None:
        return None
    return ProgressView(**said | {"reported_at": datetime.fromisoformat(said["reported_at"])})


def _shown(row: dict[str, Any], task: Task[..., Any] | None) -> str:
    args = task.redaction.hide(row["args"]) if task is not None else row["args"]
    given = args.items() if isinstance(args, dict) else [("...", args)]
    call = ", ".join(f"{name}={payload.show(value)}" for name, value in given)
    options = [f"job {row['id']}", f"{row['state']} in queue {row['queue']!r}"]
    if row["priority"]:
        options.append(f"priority {row['priority']}")
    if row["key"] is not None:
        options.append(f"key {row['key']!r}")
    if row["delay"] >= 1 and row["state"] == "ready":
        options.append(f"delay {row['delay']:.6g} s")
    return f"{row['task']}({call}): {', '.join(options)}"
