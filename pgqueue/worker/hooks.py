"""Calls hooks: on one thread of their own, after the table has confirmed what they are told.

What is to be told waits in a bounded queue: a hook that hangs holds up other hooks, and nothing
else. An outcome of a lost lease never comes here. A job that ended without a handler here, rescued
or expired, comes by its id and is read from the table.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from pgqueue import hooks as told, payload
from pgqueue.codec import is_sealed
from pgqueue.hooks import JobEvent, WorkerEvent
from pgqueue.outcome import Settled, Succeeded, Unsuccessful, message_of
from pgqueue.redaction import Redaction
from pgqueue.telemetry import events, fields
from pgqueue.worker.parts import Attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from pgqueue.durable import Keeper
    from pgqueue.hooks import Hook, JobMoment, Moment
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Outcome
    from pgqueue.tasks import Task
    from pgqueue.telemetry.events import Event, Events
    from pgqueue.worker.reports import Reports

MOST_WAITING: Final = 10_000
"""What waits to be told; beyond that it is dropped, and counted."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of arguments and results in what waits: 10,000 large ones would fill the memory."""
PATIENCE: Final = 30.0
"""Seconds: an async hook that takes longer is cancelled; a plain one is only told of, for a thread
cannot be interrupted."""
TELL_EVERY: Final = 10.0
"""Seconds between two events about what was dropped."""
START: Final = 10.0
"""Seconds for which a worker waits for its on_worker_start hooks."""
DRAIN: Final = 5.0
"""Seconds that hooks get at the worker's end, all together."""


class Hooked(Protocol):
    """What is needed of the app."""

    @property
    def hooks(self) -> Mapping[Moment, tuple[Hook, ...]]:
        """Its hooks, of all tasks."""

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """Its tasks, with hooks of their own."""


class Announced(Attempt):
    """An attempt whose start is told."""

    __slots__ = ("_announce",)

    def __init__(
        self,
        job: ClaimedJob,
        task: Task[..., object],
        reports: Reports,
        keeper: Keeper | None,
        announce: Callable[[Attempt], None],
    ) -> None:
        super().__init__(job, task, reports, keeper)
        self._announce = announce

    def starting(self) -> None:
        self._announce(self)

    def call(self, args: dict[str, Any]) -> Any:
        self.starting()
        return super().call(args)


def moments(app: Hooked) -> set[Moment]:
    """The moments for which the app, or one of its tasks, has a hook."""
    found = set(app.hooks)
    for task in app.tasks.values():
        found.update(task.hooks)
    return found


def hooks_for(app: Hooked, task: Task[..., object] | None, moment: Moment) -> tuple[Hook, ...]:
    """Whom to call, in this order: the app's hooks, then the task's own."""
    own = task.hooks.get(moment, ()) if task is not None else ()
    return (*app.hooks.get(moment, ()), *own)


def name_of(hook: Hook) -> str:
    """How people find it in their code."""
    return getattr(hook, "__qualname__", None) or repr(hook)


def event_of(
    moment: JobMoment, job: ClaimedJob, task: Task[..., object], done: Outcome | None = None
) -> JobEvent:
    """What hooks are told of an attempt: of its start, or of its outcome."""
    args, meta = told.shown(job.args, job.meta, task.redaction)
    more: dict[str, Any] = {}
    if isinstance(done, Succeeded) and done.result is not None:
        result = payload.decode(done.result)
        more["result"] = None if is_sealed(result) else result
    elif isinstance(done, Unsuccessful):
        more |= {"error_type": done.error_type, "message": done.message}
        more["delay"] = done.delay if moment == "retry" else None
    names = (job.id, job.task, job.queue, job.attempt, job.max_attempts)
    return JobEvent(moment, *names, args, meta, **more)


class HookRunner:
    """Calls the hooks of one worker; safe from any thread, and waits for no hook unless it says so.

    Args:
        app: whose hooks.
        emit: takes events.
        read: the rows of `ended_jobs.sql` for these ids.
    """

    def __init__(
        self, app: Hooked, emit: Events, read: Callable[[Sequence[int]], Iterable[Any]]
    ) -> None:
        self._app, self._emit, self._read = app, emit, read
        self.moments = moments(app)
        self._waiting: queue.SimpleQueue[tuple[int, Callable[[], None]] | None]
        self._waiting = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._bytes = 0
        self._runner = asyncio.Runner()
        self._dropped = 0
        self._told_at = float("-inf")
        self._under_way: tuple[str, float] | None = None
        self._told_slow: tuple[str, float] | None = None
        self._worker = WorkerEvent("worker_start", 0, "", ())
        self._thread = threading.Thread(target=self._run, name="pgqueue-hooks", daemon=True)
        self._thread.start()

    # -- what other threads say --------------------------------------------------------------

    def recorded(self, done: Outcome, attempt: Attempt | None) -> None:
        """An outcome is in the table; without an attempt, of a job that never started here."""
        moment = moment_of(done)
        if attempt is None:
            if moment == "expired":
                self.ended([done.id])
        elif moment is not None and self._wanted(moment, attempt.task):
            tell = partial(self._tell_outcome, moment, attempt.job, attempt.task, done)
            self._put(tell, _size(attempt.job, done))

    def attempt(
        self,
        job: ClaimedJob,
        task: Task[..., object],
        reports: Reports,
        keeper: Keeper | None,
    ) -> Attempt:
        """An attempt that tells of its start where a hook wants to know."""
        if self._wanted("start", task):
            return Announced(job, task, reports, keeper, self._starting)
        return Attempt(job, task, reports, keeper)

    def heard(self, event: Event) -> None:
        """An event of this worker: it may be about jobs that ended without a handler."""
        if isinstance(event, events.JobsRescued):
            self.ended(event.dead)
        elif isinstance(event, events.JobsExpired):
            self.ended(event.ids)

    def ended(self, ids: Sequence[int]) -> None:
        """These jobs are dead or expired, and no worker ran them."""
        if ids and not self.moments.isdisjoint(("dead", "expired")):
            self._put(partial(self._tell_ended, ids))

    def worker_started(self, id_: int, name: str, queues: tuple[str, ...]) -> None:
        """Call the hooks of the worker's start, and wait for them, START seconds at most."""
        self._worker = WorkerEvent("worker_start", id_, name, queues)
        if "worker_start" in self.moments:
            done = threading.Event()
            self._put(partial(self._call_all, "worker_start", None, self._worker))
            self._put(done.set)
            if not done.wait(START):
                self._check_time(0.0)

    def close(self) -> None:
        """Call what waits, then the hooks of the worker's stop; wait DRAIN seconds at most."""
        stopped = WorkerEvent("worker_stop", *self._worker_values())
        self._waiting.put((0, partial(self._call_all, "worker_stop", None, stopped)))
        self._waiting.put(None)
        self._thread.join(DRAIN)
        if self._thread.is_alive():
            self._check_time(0.0)
            self._dropped += self._waiting.qsize()
        self._tell_dropped()

    def _worker_values(self) -> tuple[int, str, tuple[str, ...]]:
        return self._worker.id, self._worker.name, self._worker.queues

    def _wanted(self, moment: Moment, task: Task[..., object]) -> bool:
        return moment in self._app.hooks or moment in task.hooks

    def _starting(self, attempt: Attempt) -> None:
        self._put(partial(self._tell_start, attempt.job, attempt.task), _size(attempt.job))

    def _put(self, tell: Callable[[], None], size: int = 0) -> None:
        with self._lock:
            if self._waiting.qsize() < MOST_WAITING and self._bytes + size <= MOST_BYTES:
                self._bytes += size
                self._waiting.put((size, tell))
            else:
                self._dropped += 1
        self._check_time(PATIENCE)
        if self._dropped and time.monotonic() - self._told_at > TELL_EVERY:
            self._tell_dropped()

    def _check_time(self, limit: float) -> None:
        """Tell once of a hook that has run for so long."""
        under_way = self._under_way
        if under_way is None or under_way is self._told_slow:
            return
        name, since = under_way
        if (passed := time.monotonic() - since) >= limit:
            self._told_slow = under_way
            self._emit(events.HookSlow(name, passed, self._waiting.qsize()))

    def _tell_dropped(self) -> None:
        self._told_at = time.monotonic()
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._emit(events.HooksDropped(dropped))

    # -- on the thread of the hooks ------------------------------------------------------------

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            size, tell = waiting
            with self._lock:
                self._bytes -= size
            try:
                tell()
            except BaseException as error:  # noqa: BLE001 - the next hooks must be called
                self._failed("the hooks' thread", None, error)
        self._runner.close()

    def _tell_start(self, job: ClaimedJob, task: Task[..., object]) -> None:
        self._call_all("start", task, event_of("start", job, task))

    def _tell_outcome(
        self, moment: JobMoment, job: ClaimedJob, task: Task[..., object], done: Outcome
    ) -> None:
        self._call_all(moment, task, event_of(moment, job, task, done))

    def _tell_ended(self, ids: Sequence[int]) -> None:
        for state, id_, name, queue_, attempt, most, args, meta, kind, message in self._read(ids):
            task = self._app.tasks.get(name)
            seen = told.shown(args, meta, task.redaction if task is not None else Redaction())
            event = JobEvent(state, id_, name, queue_, attempt, most, *seen, None, kind, message)
            self._call_all(state, task, event)

    def _call_all(
        self, moment: Moment, task: Task[..., object] | None, event: JobEvent | WorkerEvent
    ) -> None:
        if isinstance(event, JobEvent):
            fields.about.set((event.id, event.task, event.attempt, event.queue))
        for hook in hooks_for(self._app, task, moment):
            name = name_of(hook)
            self._under_way = (name, time.monotonic())
            try:
                self._call(hook, event)
            except BaseException as error:  # noqa: BLE001 - a hook is the user's code
                self._failed(f"{name} (on_{moment})", event, error)
            finally:
                self._under_way = None
        fields.about.set(None)

    def _call(self, hook: Hook, event: JobEvent | WorkerEvent) -> None:
        answer = hook(event)
        if hasattr(answer, "__await__"):
            self._runner.run(_in_time(answer), context=copy_context())

    def _failed(
        self, name: str, event: JobEvent | WorkerEvent | None, error: BaseException
    ) -> None:
        about = event.id if isinstance(event, JobEvent) else None
        message = " ".join(message_of(error).split())
        text = f"{type(error).__name__}: {message}" if message else type(error).__name__
        self._emit(events.HookFailed(name, about, text, error))


async def _in_time(answer: Awaitable[Any]) -> None:
    await asyncio.wait_for(answer, PATIENCE)


def _size(job: ClaimedJob, done: Outcome | None = None) -> int:
    result = done.result if isinstance(done, Succeeded) else None
    return len(job.args) + len(job.meta) + len(result or "")


def moment_of(done: Outcome) -> JobMoment | None:
    """What a hook is told of an outcome; None for what is no news: released, snoozed, cut."""
    if isinstance(done, Succeeded | Settled):
        return "success"
    if not isinstance(done, Unsuccessful):
        return None
    if done.ending == "retried":
        return "retry"
    return None if done.state == "ready" else done.state
