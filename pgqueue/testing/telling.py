"""The rules of hooks in a test: who is told what, once it is recorded. They only ask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgqueue.testing.asking import Tell
from pgqueue.worker.hooks import event_of, hooks_for, moment_of, name_of

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.hooks import JobMoment
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Outcome
    from pgqueue.tasks import Task
    from pgqueue.testing.asking import Asking


def telling(
    app: PgQueue, job: ClaimedJob, task: Task[..., object], done: Outcome | None = None
) -> Asking[list[BaseException]]:
    """Call the hooks of an attempt's start, or of its outcome; what they raised."""
    moment: JobMoment | None = "start" if done is None else moment_of(done)
    if moment is None:
        return []
    hooks = hooks_for(app, task, moment)
    if not hooks:
        return []
    event = event_of(moment, job, task, done)
    if moment == "expired":  # that attempt was given back
        event = replace(event, attempt=job.attempt - 1, error_type=None, message=None)
    raised = []
    for hook in hooks:
        error = yield Tell(hook, event)
        if error is not None:
            error.add_note(f"raised by the hook {name_of(hook)} (on_{moment}) for job {job.id}")
            raised.append(error)
    return raised
