"""The rules of a drain: which job comes next, how it runs, what is recorded. They only ask.

A job is claimed, run and finished by the statements and the code of workers. What is not here:
heartbeats, rescue, timeouts, and the limits of connections of pgqueue's own.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue import outcome, store
from pgqueue._version import __version__
from pgqueue.errors import ControlFlow, UnknownTask
from pgqueue.job import ClaimedJob
from pgqueue.outcome import Ephemeral, HeldBack, Lost, Succeeded, Unsuccessful
from pgqueue.testing.ageing import ageing
from pgqueue.testing.asking import Run, ask, ask_claim
from pgqueue.testing.judging import Performed
from pgqueue.testing.looking import looking
from pgqueue.testing.telling import telling
from pgqueue.testing.values import Drained, RanJob
from pgqueue.worker import execution
from pgqueue.worker.parts import Attempt
from pgqueue.worker.registry import Registry
from pgqueue.worker.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.app import PgQueue
    from pgqueue.outcome import Outcome
    from pgqueue.tasks import Task
    from pgqueue.testing.asking import Asking
    from pgqueue.testing.values import Ended

NAME: Final = "pgqueue.testing"
"""The name of the worker that a test is, as attempts show it."""
TTL: Final = 3600
"""Seconds for which the test counts as a living worker: nobody shall rescue its jobs."""
A_MOMENT: Final = 0.001
"""Seconds by which time passes beyond the moment a job is due: clocks are read more than once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How to drain.

    Attributes:
        queue: only this one; None for all.
        with_scheduled: when nothing is due, let time pass until something is.
        limit: attempts after which it gives up.
        raises: raise what a handler raised, unless it is a word of control flow, or a hook.
        hooks: call them.
    """

    queue: str | None = None
    with_scheduled: bool = False
    limit: int = 1000
    raises: bool = True
    hooks: bool = True


class _Next(NamedTuple):
    id: int
    queue: str
    priority: int


def draining(app: PgQueue, terms: Terms) -> Asking[Drained]:
    """Run due jobs, and those that they enqueue, until none is due."""
    __tracebackhide__ = True
    worker_id = yield from _registered()
    ran: list[RanJob] = []
    passed: set[int] = set()
    while (job_to_run := (yield from _next(terms, passed))) is not None:
        if len(ran) >= terms.limit:
            yield ask("leave", worker_id=worker_id)
            raise AssertionError(_endless(ran, terms))
        one = yield from _attempt(app, job_to_run, worker_id, hooks=terms.hooks)
        if one is None:
            passed.add(job_to_run.id)  # somebody else has it locked
            continue
        ran.append(one)
        if one.outcome == "released":
            passed.add(job_to_run.id)
        if terms.raises and _error(one) is not None:
            break
    yield ask("leave", worker_id=worker_id)
    if terms.raises and ran:
        raise_error(ran[-1])
    return Drained(ran)


def running_one(app: PgQueue, job_id: int, *, hooks: bool) -> Asking[RanJob | None]:
    """Run one job, if it is due; None where it is not."""
    job_to_run = yield from _next(Terms(), set(), only=job_id)
    if job_to_run is None:
        return None
    worker_id = yield from _registered()
    ran = yield from _attempt(app, job_to_run, worker_id, hooks=hooks)
    yield ask("leave", worker_id=worker_id)
    return ran


def raise_error(ran: RanJob) -> None:
    """Raise what the handler raised, with the job named, or else what a hook did."""
    __tracebackhide__ = True
    error = _error(ran)
    if error is None:
        return
    if error is ran.error:
        what = str(ran.job) if ran.job else f"job {ran.id} of {ran.task}"
        error.add_note(f"raised by {what}; its attempt is recorded as {ran.outcome!r}")
    raise error


def _error(ran: RanJob) -> BaseException | None:
    """What makes a test fail: a word of control flow does not."""
    if ran.error is not None and not isinstance(ran.error, ControlFlow):
        return ran.error
    return ran.hook_errors[0] if ran.hook_errors else None


def _registered() -> Asking[int]:
    rows = yield ask(
        "register_worker",
        name=NAME,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        queues="{}",
        concurrency=1,
        threads=1,
        children=0,
        ttl=TTL,
    )
    return int(rows[0][0])


def _next(terms: Terms, passed: set[int], only: int | None = None) -> Asking[_Next | None]:
    """The job to run next; where nothing is due and time may pass, it passes first."""
    passed_over = store.array(sorted(passed))
    rows = yield ask("testing_next", only=only, queue=terms.queue, passed=passed_over)
    if not rows or (rows[0][3] > 0 and not terms.with_scheduled):
        return None
    *lane, due_in = rows[0]
    if due_in > 0:
        yield from ageing(due_in + A_MOMENT, None)
    return _Next(*lane)


def _attempt(
    app: PgQueue, job_to_run: _Next, worker_id: int, *, hooks: bool
) -> Asking[RanJob | None]:
    """Claim a job, run it and record what came of it; None where it cannot be claimed."""
    rows = yield ask_claim(
        only=job_to_run.id,
        worker_id=worker_id,
        room=1,
        queues=store.array([f'"{job_to_run.queue}"']),
        priorities=store.array([job_to_run.priority]),
        floor_times="{-infinity}",
        floor_ids="{0}",
        caps="{1}",
        suspects=True,
    )
    if not rows:
        return None
    job = ClaimedJob._make(rows[0])
    task = Registry(app.tasks).find(job.task, job.version)
    told = task if hooks else None
    raised = (yield from telling(app, job, told)) if told and not job.expired else []
    done = yield from _performed(app, job, task)
    recorded = yield from _recorded(done.outcome)
    if told and recorded:
        raised += yield from telling(app, job, told, done.outcome)
    jobs = yield from looking(app, id_=job.id)
    ended: Ended = _ended(done) if recorded else "lost"
    delay = done.outcome.delay if isinstance(done.outcome, Unsuccessful) else 0.0
    return RanJob(
        job.id, job.task, ended, jobs[0] if jobs else None, delay, done.error, tuple(raised)
    )


def _performed(app: PgQueue, job: ClaimedJob, task: Task[..., Any] | None) -> Asking[Performed]:
    if task is None:
        known = ", ".join(sorted(app.tasks)) or "none"
        return Performed(
            outcome.release(job, delay=outcome.HELD_BACK_FOR),
            UnknownTask(
                f"job {job.id} is of task {job.task!r}, version {job.version}, which this app does "
                f"not know: import the module that declares it (known: {known})"
            ),
        )
    if job.expired:
        return Performed(outcome.expired(job))
    attempt = Attempt(job, task, Reports())
    performed: Performed = yield Run(attempt)
    if said := execution.last_words(attempt):
        yield ask("progress", **said)
    return performed


def _recorded(done: Outcome) -> Asking[bool]:
    """Record an outcome, as an exchange does; whether its lease still stood."""
    if isinstance(done, Succeeded):
        values = store._successes([done])  # noqa: SLF001 - an exchange of one, without its wire
        deleted = isinstance(done, Ephemeral)
        return bool((yield ask("finish_ephemeral" if deleted else "finish_succeeded", **values)))
    if isinstance(done, Unsuccessful):
        outcomes = store._documents([done])  # noqa: SLF001 - as above
        return bool((yield ask("finish_unsuccessful", outcomes=outcomes, worker=NAME)))
    return not isinstance(done, Lost)


def _ended(done: Performed) -> Ended:
    if not isinstance(done.outcome, Unsuccessful):
        return "succeeded"
    if done.outcome.ending in ("retried", "dead", "cancelled", "expired"):
        return done.outcome.ending
    unable = isinstance(done.error, HeldBack | UnknownTask)
    return "released" if unable else "snoozed"


def _endless(ran: Sequence[RanJob], terms: Terms) -> str:
    last = "\n".join(f"    {one.job or one.task} ({one.outcome})" for one in ran[-5:])
    return (
        f"drain: {terms.limit} attempts, and jobs are still due; the last were\n{last}\n"
        "Do they enqueue or snooze each other for ever? Otherwise raise drain(limit=...)"
    )
