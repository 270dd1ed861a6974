"""Jobs as results of Django's tasks framework."""

from __future__ import annotations

import builtins
import os
import socket
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from pgqueue import errors, outcome
from pgqueue.contrib.django import definitions
from pgqueue.contrib.django.framework import (
    InvalidTask,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from pgqueue.contrib.django.models import Attempt, Job, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgqueue.context import JobContext

META: Final = "django"
"""The member of a job's meta that is ours: when the job was enqueued, for the worker's signals."""

LARGEST_ID: Final = 2**63 - 1

STATUSES: Final = {
    "ready": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "succeeded": TaskResultStatus.SUCCESSFUL,
    "dead": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
    "expired": TaskResultStatus.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PgQueueTaskResult(TaskResult):
    """A result that also says whether its enqueue made the job.

    Attributes:
        created: False when the task had a key that another job held; this is then that job.
    """

    created: bool = True


def new(task: Any, args: Any, kwargs: Any, backend: str) -> Any:
    """The result of a call that is about to be enqueued; its id is not known yet.

    Raises:
        TypeError, ValueError: an argument is of a type that JSON does not have.
    """
    return _result(task, args, kwargs, backend, enqueued_at=timezone.now())


def first_attempt(
    task: Any, args: Any, kwargs: Any, *, context: JobContext, enqueued_at: datetime
) -> Any:
    """The result of a job that runs for the first time: nothing has to be read."""
    now = timezone.now()
    return _result(
        task,
        args,
        kwargs,
        task.backend,
        id=str(context.id),
        status=TaskResultStatus.RUNNING,
        enqueued_at=enqueued_at,
        started_at=now,
        last_attempted_at=now,
        worker_ids=[f"{socket.gethostname()}:{os.getpid()}"],  # the name of this worker
    )


def _result(task: Any, args: Any, kwargs: Any, backend: str, **fields: Any) -> Any:
    unknown: dict[str, Any] = {
        "id": "",
        "status": TaskResultStatus.READY,
        "started_at": None,
        "finished_at": None,
        "last_attempted_at": None,
        "errors": [],
        "worker_ids": [],
    }
    return PgQueueTaskResult(
        task=task, args=list(args), kwargs=kwargs, backend=backend, **{**unknown, **fields}
    )


def stored_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call as the job keeps it."""
    stored: dict[str, Any] = {}
    if args:
        stored["args"] = args
    if kwargs:
        stored["kwargs"] = kwargs
    return stored


def with_time(meta: Mapping[str, Any] | None, enqueued_at: datetime) -> dict[str, Any]:
    """Meta with the time of the enqueue in it."""
    moment = enqueued_at if timezone.is_aware(enqueued_at) else timezone.make_aware(enqueued_at)
    return {**(meta or {}), META: {"enqueued_at": moment.isoformat()}}


def time_in(meta: Mapping[str, Any]) -> datetime | None:
    """The time of the enqueue that a producer of ours put into meta; None where it is no time."""
    try:
        moment = datetime.fromisoformat(meta[META]["enqueued_at"])
    except (KeyError, TypeError, ValueError):
        return None
    if timezone.is_naive(moment):
        return None
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def read(backend: Any, result_id: str) -> Any:
    """The result of a job, from the database of the backend.

    Raises:
        TaskResultDoesNotExist: no job has this id, or it is none of a task of the framework.
    """
    job_id = _job_id(result_id)
    database = backend.database
    worker = Worker.objects.using(database).filter(pk=OuterRef("worker_id")).values("name")
    jobs = Job.objects.using(database).annotate(worker=Subquery(worker))
    job = jobs.filter(pk=job_id).first()
    if job is None:
        raise TaskResultDoesNotExist(f"no job has the id {result_id!r}")
    definition = definitions.find(job.task)
    if definition is None or not isinstance(job.args, dict):
        raise TaskResultDoesNotExist(
            f"job {job_id} is of {job.task!r}, which is no task of Django's framework here"
        )
    # An attempt is recorded by the statement that ends its lease: these are what this row knew.
    ended = Attempt.objects.using(database).filter(job_id=job_id, lease__lt=job.lease)
    attempts = list(ended.order_by("lease"))
    return of_job(job, attempts, _as_enqueued(definition, job, backend.alias), backend.alias)


def _job_id(result_id: Any) -> int:
    text = str(result_id)
    if not (text.isascii() and text.isdecimal()) or int(text) > LARGEST_ID:
        raise TaskResultDoesNotExist(f"{result_id!r} is not the id of a job")
    return int(text)


def _as_enqueued(definition: Any, job: Job, backend: str) -> Any:
    waits = job.state == "ready" and not job.attempt and job.run_at > timezone.now()
    changes = {
        "priority": job.priority,
        "queue_name": job.queue,
        "backend": backend,
        "run_after": job.run_at if waits else None,
    }
    try:
        return replace(definition, **changes)
    except InvalidTask:  # of a queue that the backend has no more, for one
        return definition


def of_job(job: Job, attempts: Sequence[Attempt], task: Any, backend: str) -> Any:
    """The result of a job that was read."""
    starts = [attempt.started_at for attempt in attempts if attempt.started_at]
    result = _result(
        task,
        job.args.get("args", ()),
        job.args.get("kwargs", {}),
        backend,
        id=str(job.pk),
        status=STATUSES[job.state],
        enqueued_at=job.created_at,
        started_at=min([*starts, *([job.started_at] if job.started_at else [])], default=None),
        last_attempted_at=job.started_at,
        finished_at=job.finished_at,
        errors=[error_of(attempt) for attempt in attempts if attempt.error_type],
        worker_ids=_worker_ids(job, attempts),
    )
    object.__setattr__(result, "_return_value", job.result)
    return result


def _worker_ids(job: Job, attempts: Sequence[Attempt]) -> list[str]:
    """A worker for each attempt that counts, so that `attempts` is the job's own number."""
    spent = [each for each in attempts if each.outcome in {"retried", "dead", "cancelled"}]
    current = [job.worker or str(job.worker_id)] if job.state in {"running", "succeeded"} else []
    past = max(job.attempt - len(current), 0)  # the newest: a requeue counts from zero again
    names = [each.worker or str(each.worker_id) for each in spent[max(len(spent) - past, 0) :]]
    return names + current


def error_of(attempt: Any) -> Any:
    """An attempt that failed, or an outcome of one, as an error of the framework."""
    return TaskError(
        exception_class_path=_class_path(attempt.error_type),
        traceback=attempt.traceback or f"{attempt.error_type}: {attempt.message}\n",
    )


def _class_path(name: str) -> str:
    """An exception's name as it can be imported: those of Python and of ours are kept short."""
    if "." in name:
        return name
    for module in (builtins, errors, outcome):
        if hasattr(module, name):
            return f"{module.__name__}.{name}"
    return f"{errors.__name__}.PgQueueError"  # what SQL records, such as "crashed"
