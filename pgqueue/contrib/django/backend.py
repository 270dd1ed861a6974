"""The backend for Django's tasks framework: a task becomes a job, in Django's transaction."""

from __future__ import annotations

from functools import lru_cache
from inspect import Signature, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from pgqueue import carrying
from pgqueue.contrib.django import definitions, results
from pgqueue.contrib.django.application import app_for
from pgqueue.contrib.django.configuration import PACKAGE, configuration
from pgqueue.contrib.django.framework import (
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    task_enqueued,
)
from pgqueue.contrib.django.task import PgQueueTask
from pgqueue.enqueue import contract
from pgqueue.errors import InvalidJob
from pgqueue.job import NewJob
from pgqueue.signatures import signature_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgqueue.contrib.django.application import DjangoApp

MAX_ATTEMPTS: Final = 1
"""Of a framework task that says nothing: Django promises no retry, so its tasks expect none."""

OPTIONS: Final = (
    "database",
    "dead_on",
    "max_attempts",
    "require_transaction",
    "retry",
    "timeout",
)


class PgQueueBackend(BaseTaskBackend):
    """A backend of TASKS. Its OPTIONS are defaults of its tasks' jobs:

    database: the alias of the database that holds the jobs; by default PGQUEUE['DATABASE'].
    max_attempts: failures until a job is dead; 1.
    timeout: seconds for one attempt; no limit.
    require_transaction: refuse an enqueue outside of atomic(), whose job would commit at once.
    retry, dead_on: as in `@app.task`; where max_attempts allows a retry.
    """

    task_class = PgQueueTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.options: Mapping[str, Any] = params.get("OPTIONS") or {}
        if unknown := sorted(set(self.options) - set(OPTIONS)):
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS'] has no {unknown[0]!r}; it takes {', '.join(OPTIONS)}"
            )

    @property
    def database(self) -> str:
        """The alias of the database that holds the jobs."""
        return self.options.get("database") or configuration().database

    @property
    def app(self) -> DjangoApp:
        """The app of that database."""
        return app_for(self.database)

    def validate_task(self, task: Any) -> None:
        """Refuse a task that no worker could run, or with options out of range.

        Raises:
            InvalidTask: the message says what is wrong with it.
        """
        super().validate_task(task)
        if getattr(task, "transactional", False) and iscoroutinefunction(task.func):
            raise InvalidTask(
                f"{task.module_path}: Django has no transactions for async def, so an async task "
                "cannot be transactional: make it a plain def"
            )
        try:
            contract.encode(self.job(task, {}), limit=self.app.settings.max_payload)
        except InvalidJob as error:
            raise InvalidTask(f"{task.module_path}: {error}") from error
        definitions.note(task)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Enqueue a call in the transaction that Django has open on this backend's database.

        Returns:
            The result, READY. For a task with a key that another job holds: that job's result,
            with `created` False, and no signal.

        Raises:
            InvalidTask: see `validate_task`.
            TypeError: the function does not take these arguments, or JSON has no such type.
            InvalidPayload: JSON cannot hold the arguments; raised before any SQL.
            TransactionUnusable: see `transaction.enqueue`.
        """
        self.validate_task(task)
        result = results.new(task, args, kwargs, self.alias)
        _signature(task.func).bind(*([None] if task.takes_context else []), *args, **kwargs)
        stored = results.stored_call(result.args, result.kwargs)
        producer = self.app.producer(None, self.options.get("require_transaction"))
        handle = producer.one(self.job(task, stored, result.enqueued_at))
        if not handle.created:
            return self._existing(handle.id, result)
        object.__setattr__(result, "id", str(handle.id))
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """The result of a job, as this connection sees it: also of one not yet committed.

        Raises:
            TaskResultDoesNotExist: no job has this id, or it is none of a task of the framework.
        """
        return results.read(self, result_id)

    def job(self, task: Any, args: Mapping[str, Any], enqueued_at: Any = None) -> NewJob:
        """The job of a call: the task's own options, and under them those of the backend."""
        defaults = {
            "max_attempts": self.options.get("max_attempts", MAX_ATTEMPTS),
            "timeout": self.options.get("timeout"),
        }
        options = {**defaults, **(task.job_options() if isinstance(task, PgQueueTask) else {})}
        if enqueued_at is not None:
            options["meta"] = results.with_time(options.get("meta"), enqueued_at)
        if carrying.travels(self.app.carried):
            options["meta"] = carrying.packed(options.get("meta"), {}, self.app.carried)
        return NewJob(
            task=task.module_path,
            args=args,
            queue=task.queue_name,
            priority=int(task.priority),
            run_at=_aware(task.run_after),
            **options,
        )

    def check(self, **_kwargs: Any) -> Iterator[Error]:
        """System checks of this backend; see checks.py for those of the database."""
        if PACKAGE not in _installed():
            yield Error(
                f"TASKS[{self.alias!r}] uses pgqueue, whose app is not installed.",
                hint=f"Add {PACKAGE!r} to INSTALLED_APPS, then run manage.py migrate.",
                id="pgqueue.E004",
            )

    def _existing(self, job_id: int, asked: Any) -> Any:
        try:
            result = self.get_result(str(job_id))
        except TaskResultDoesNotExist:  # deleted, while its key still holds for a window
            object.__setattr__(asked, "id", str(job_id))
            result = asked
        object.__setattr__(result, "created", False)
        return result


def _installed() -> set[str]:
    return {name.removesuffix(".apps.PgQueueConfig") for name in settings.INSTALLED_APPS}


def _aware(moment: Any) -> Any:
    """A time with a zone; with USE_TZ off Django's naive times are in TIME_ZONE."""
    if moment is None or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment)


@lru_cache(maxsize=1024)
def _signature(function: Any) -> Signature:
    return signature_of(function)
