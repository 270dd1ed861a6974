"""The one place that words log lines. Levels by who must act: nobody, somebody, somebody now."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, assert_never

from pgqueue.telemetry import events, fields
from pgqueue.telemetry.lines import JsonLines, TextLines
from pgqueue.views import Count
from pgqueue.views.upkeep import dead_kept, prune_behind

if TYPE_CHECKING:
    from pgqueue.telemetry.events import Event
    from pgqueue.telemetry.lines import Form

log: Final = logging.getLogger("pgqueue.worker")

Line = tuple[int, str]

LONGEST: Final = 800
"""Characters of a line: what a handler raised may be long, and is kept whole in `attempts`."""


_WITH_TRACEBACK: Final = (events.HookFailed, events.SupervisorBroken, events.WorkerBroken)


def write(event: Event) -> None:
    """Log one event."""
    level, line = words(event)
    exception = event.exception if isinstance(event, _WITH_TRACEBACK) else None
    extra = {"event": type(event).__name__, **fields.of_event(event)}
    log.log(level, line, extra=extra, exc_info=exception)


def words(event: Event) -> Line:
    """The level and the line for an event: one line, printable, and not longer than LONGEST."""
    level, text = _words(event)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return level, line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _words(event: Event) -> Line:  # noqa: C901, PLR0911, PLR0912 - one case an event, flat
    match event:
        case events.WorkerStarted():
            queues = ", ".join(event.queues)
            return logging.INFO, (
                f"worker {event.worker_id} ({event.name}) works {queues}; slots: "
                f"{event.concurrency} async, {event.threads} thread, {event.children} process"
            )
        case events.WorkerStopping():
            return logging.INFO, (
                f"worker {event.worker_id} stops: claims nothing more, waits up to "
                f"{event.timeout:g} s for {event.running} running"
            )
        case events.WorkerStopped():
            cut = f", {event.cut} handlers cut and their jobs given back" if event.cut else ""
            return logging.INFO, f"worker {event.worker_id} stopped{cut}"
        case events.WorkerDied():
            return logging.ERROR, f"worker {event.worker_id} ({event.name}) died: {event.reason}"
        case events.WorkerRetiring():
            return logging.WARNING, (
                f"worker {event.worker_id} retires: {event.reason}; another takes its place, "
                f"{event.running} running"
            )
        case events.WorkerFenced():
            return logging.ERROR, (
                f"worker {event.worker_id} drops its jobs and starts anew: {event.reason}"
            )
        case events.JobFailed():
            return _failed(event)
        case events.HandlerStuck() | events.StuckHandlerEnded():
            return _stuck(event)
        case events.LoopBlocked():
            who = f"job {event.job_id} ({event.task})" if event.job_id else "something"
            return logging.ERROR, (
                f"{who} has blocked the event loop for {event.seconds:.1f} s, and all other "
                f"coroutines of this worker wait; it stands at {event.where}"
            )
        case events.LoopInterrupted():
            return logging.ERROR, f"the event loop was stopped, and goes on: {event.reason}"
        case events.ChildFailed():
            return logging.ERROR, (
                f"a child process could not start: {event.reason}; tries again in "
                f"{event.pause:.0f} s"
            )
        case events.LeaseGone():
            return logging.WARNING, (
                f"job {event.job_id}: lease {event.lease} was ended by somebody else; "
                "this outcome is dropped"
            )
        case events.TaskUnknown():
            return logging.WARNING, (
                f"task {event.task!r} is not known here{_version(event)}: {_jobs(event.count)} "
                f"given back, due again in {event.delay:.0f} s; deploy its code, or work its queue "
                "elsewhere"
            )
        case events.JobsHeldBack():
            return logging.ERROR, (
                f"{_jobs(event.count)} of task {event.task!r} cannot run here and went "
                f"back, due again in {event.delay:.0f} s: {event.reason}"
            )
        case events.JobsRescued():
            return _rescued(event)
        case events.JobsExpired():
            return logging.INFO, f"{_jobs(event.count)} expired unstarted"
        case events.JobsPruned():
            return logging.INFO, (
                f"{_jobs(event.count)} past retention deleted in {event.seconds:.0f} s"
            )
        case events.PruneBehind():
            return logging.WARNING, prune_behind(event.overdue, event.rate)
        case events.DeadJobsKept():
            dead = Count(event.count, event.more)
            return logging.WARNING, dead_kept(dead, event.oldest)
        case events.QueueFilled():
            return logging.WARNING, (
                f"queue {event.queue} is full: {event.depth} due jobs, max_depth is "
                f"{event.max_depth}; producers are refused until workers have made room"
            )
        case events.QueueDrained():
            return logging.INFO, (
                f"queue {event.queue} has room again: {event.depth} due jobs, max_depth is "
                f"{event.max_depth}"
            )
        case events.DatabaseLost():
            return logging.WARNING, (
                f"{event.part}: {event.error}; tries again in {event.pause:.1f} s"
            )
        case events.DatabaseBack():
            return logging.INFO, f"{event.part}: the database answers again"
        case events.StepFailed():
            return logging.WARNING, f"{event.step}: {event.error}; tries again at its next turn"
        case events.WorkerBroken():
            what = f"{type(event.exception).__name__}: {event.exception}"
            return logging.ERROR, (
                f"worker {event.worker_id} cannot go on, and ends: {what}; its jobs run again "
                "elsewhere. Please report this: it is an error of pgqueue"
            )
        case events.SupervisorBroken():
            what = f"{type(event.exception).__name__}: {event.exception}"
            return logging.ERROR, (
                f"the supervisor cannot go on, stops its workers, and ends: {what}. Please report "
                "this: it is an error of pgqueue"
            )
        case events.HookFailed():
            about = "" if event.job_id is None else f" for job {event.job_id}"
            return logging.ERROR, (
                f"hook {event.hook} failed{about}: {event.error}; the job is as it was"
            )
        case events.HookSlow():
            return logging.WARNING, (
                f"hook {event.hook} has run for {event.seconds:.0f} s, and {event.waiting} calls "
                "of hooks wait for it: give what it waits for a time limit"
            )
        case events.HooksDropped():
            return logging.ERROR, (
                f"{event.count} calls of hooks were dropped: hooks are slower than jobs, or the "
                "worker ended; the jobs are as they were"
            )
        case _:
            assert_never(event)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _version(event: events.TaskUnknown) -> str:
    return "" if event.version is None else f" in version {event.version}"


def _failed(event: events.JobFailed) -> Line:
    what = f"job {event.job_id} ({event.task}), attempt {event.attempt}"
    reason = f"{event.error_type}: {event.message}" if event.message else event.error_type
    if event.delay is None:
        return logging.ERROR, f"{what} is dead: {reason}"
    return logging.WARNING, f"{what} failed, retried in {event.delay:.1f} s: {reason}"


def _stuck(event: events.HandlerStuck | events.StuckHandlerEnded) -> Line:
    what = f"job {event.job_id} ({event.task})"
    if isinstance(event, events.StuckHandlerEnded):
        return logging.INFO, f"{what}: its stuck handler has ended; what it says is dropped"
    return logging.ERROR, (
        f"{what} is stuck: asked to end ({event.why}), its handler runs on; its slot "
        f"({event.executor}) is written off"
    )


def _rescued(event: events.JobsRescued) -> Line:
    name = f" ({event.name})" if event.name else ""
    line = f"{_jobs(event.count)} rescued from worker {event.worker_id}{name}"
    if event.dead:
        ids = ", ".join(map(str, event.dead))
        return logging.ERROR, f"{line}; dead, with too many crashes: {ids}"
    return logging.WARNING, line


def to_stderr(level: int = logging.INFO, form: Form = "text") -> None:
    """Send pgqueue's log, and everything else's warnings, to standard error.

    Where the root logger has a handler already, that one stays as it is.

    Args:
        level: of pgqueue's own log.
        form: lines for people, or JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(fields.JobFields())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("pgqueue").setLevel(level)
