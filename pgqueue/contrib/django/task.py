"""A task of Django's framework with the options of a job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgqueue.contrib.django.framework import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from pgqueue.retry import RetryRule

T = TypeVar("T")

JOB_OPTIONS: Final = (
    "expires_at",
    "key",
    "key_scope",
    "max_attempts",
    "meta",
    "timeout",
    "ttl",
    "unique_for",
)
"""Fields that go into the job; `retry`, `dead_on`, `transactional` stay with the definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PgQueueTask(Task):
    """A framework task whose jobs have options; None is the backend's default.

    Attributes:
        max_attempts: failures until the job is dead.
        timeout: seconds for one attempt, or a timedelta.
        expires_at: the job is not started after this time.
        ttl: seconds, or a timedelta, from when it is due, instead of `expires_at`.
        key: the job is unique by this key until it has ended; a second enqueue gets its result.
        key_scope: where the key is unique; by default among jobs of this task.
        unique_for: seconds, or a timedelta: the key holds for this window instead.
        meta: a JSON object kept with the job.
        retry: how long to wait after a failure; part of the definition, not of one call.
        dead_on: exceptions that are never retried; as `retry`.
        transactional: the task's ORM writes in the jobs' database, and its success, are one
            commit; as `retry`.
    """

    max_attempts: int | None = None
    timeout: float | timedelta | None = None
    expires_at: datetime | None = None
    ttl: float | timedelta | None = None
    key: str | None = None
    key_scope: str | None = None
    unique_for: float | timedelta | None = None
    meta: Mapping[str, Any] | None = None
    retry: RetryRule | None = None
    dead_on: tuple[type[BaseException], ...] | None = None
    transactional: bool = False

    def using(self, **options: Any) -> Any:
        """A copy with other options: `priority`, `queue_name`, `run_after`, `backend`, the job's.

        None leaves an option as it is.

        Raises:
            TypeError: an option that does not exist.
            InvalidTask: a value that is out of range.
        """
        known = set(self.__dataclass_fields__) - {"func", "takes_context"}
        if unknown := sorted(options.keys() - known):
            raise TypeError(
                f"using() has no option {unknown[0]!r}; it takes {', '.join(sorted(known))}"
            )
        given = {name: value for name, value in options.items() if value is not None}
        return replace(self, **given)

    def job_options(self) -> dict[str, Any]:
        """The options of the job that were set."""
        values = ((name, getattr(self, name)) for name in JOB_OPTIONS)
        return {name: value for name, value in values if value is not None}


def job_options(**options: Any) -> Callable[[T], T]:
    """Options of the job, for `@task` or for one call: `job_options(key="7")(send).enqueue(7)`.

    Under another backend, such as the immediate one of tests, the task stays as it is: there the
    options mean nothing.

    Args:
        options: see PgQueueTask.
    """

    def apply(task: T) -> T:
        if not isinstance(task, PgQueueTask):
            return task
        chosen: T = task.using(**options)
        return chosen

    return apply
