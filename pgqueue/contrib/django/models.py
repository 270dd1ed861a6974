"""pgqueue's tables as models that only read: for the admin, for queries, for results.

Workers and `pgqueue.operations` write these tables under locks and leases that the ORM does not
know, so the models refuse to. Without `using()` they read the database of PGQUEUE['DATABASE'].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from django.db import NotSupportedError, models
from django.utils import timezone

from pgqueue.contrib.django.configuration import configuration
from pgqueue.job import STATES
from pgqueue.views import shown_state

if TYPE_CHECKING:
    from datetime import datetime


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise NotSupportedError(
        "pgqueue's models only read: enqueue a task to make a job, and use app.cancel(id), "
        "app.requeue(id) or app.delete(id) of pgqueue.contrib.django to change one"
    )


class ReadOnlyQuerySet(models.QuerySet):
    """A queryset that reads."""

    create = get_or_create = update_or_create = _refuse
    bulk_create = bulk_update = update = delete = _refuse


class ReadOnlyManager(models.Manager):
    """Reads the database that holds the jobs."""

    create = get_or_create = update_or_create = _refuse
    bulk_create = bulk_update = update = _refuse

    def get_queryset(self) -> Any:
        """All rows."""
        return ReadOnlyQuerySet(self.model, using=self._db or configuration().database)


class ReadOnlyModel(models.Model):
    """A row that is only read."""

    objects = ReadOnlyManager()

    save = delete = asave = adelete = _refuse

    class Meta:
        """How Django sees the table."""

        abstract = True


class Job(ReadOnlyModel):
    """A job."""

    id = models.BigAutoField(primary_key=True)
    task = models.TextField()
    queue = models.TextField()
    state = models.TextField(choices=[(state, state) for state in STATES])
    priority = models.SmallIntegerField()
    run_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    attempt = models.SmallIntegerField()
    max_attempts = models.SmallIntegerField()
    crash_count = models.SmallIntegerField()
    timeout = models.FloatField(null=True)
    version = models.IntegerField()
    lease = models.BigIntegerField()
    worker_id = models.BigIntegerField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    args = models.JSONField()
    meta = models.JSONField()
    result = models.JSONField(null=True)
    key = models.TextField(null=True)  # noqa: DJ001 - the table is what it is
    key_scope = models.TextField(null=True)  # noqa: DJ001 - as above
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        """How Django sees the table."""

        managed = False
        db_table = '"pgqueue"."jobs"'
        default_permissions = ("view", "delete")
        permissions = (("requeue_job", "Can requeue job"), ("cancel_job", "Can cancel job"))

    def __str__(self) -> str:
        return f"job {self.pk} ({self.task})"

    @property
    def shown_state(self) -> str:
        """The state in words: a ready job whose time has not come is waiting, or retrying."""
        waiting = self.run_at > timezone.now()
        run_at: datetime = self.run_at
        return shown_state(self.state, run_at, waiting=waiting, attempt=self.attempt)


class Attempt(ReadOnlyModel):
    """An attempt that did not succeed, or a requeue."""

    pk = models.CompositePrimaryKey("job_id", "lease")
    job_id = models.BigIntegerField()
    lease = models.BigIntegerField()
    attempt = models.SmallIntegerField()
    outcome = models.TextField()
    worker_id = models.BigIntegerField(null=True)
    worker = models.TextField(null=True)  # noqa: DJ001 - the table is what it is
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField()
    error_type = models.TextField(null=True)  # noqa: DJ001 - as above
    message = models.TextField(null=True)  # noqa: DJ001 - as above
    traceback = models.TextField(null=True)  # noqa: DJ001 - as above
    fingerprint = models.TextField(null=True)  # noqa: DJ001 - as above
    actor = models.TextField(null=True)  # noqa: DJ001 - as above

    class Meta:
        """How Django sees the table."""

        managed = False
        db_table = '"pgqueue"."attempts"'
        default_permissions = ()

    def __str__(self) -> str:
        return f"attempt {self.attempt} of job {self.job_id}: {self.outcome}"


class Progress(ReadOnlyModel):
    """How far a job is, or was, as its handler said last."""

    job_id = models.BigIntegerField(primary_key=True)
    done = models.FloatField()
    total = models.FloatField(null=True)
    message = models.TextField(null=True)  # noqa: DJ001 - the table is what it is
    reported_at = models.DateTimeField()

    class Meta:
        """How Django sees the table."""

        managed = False
        db_table = '"pgqueue"."progress"'
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.done:,g}" + ("" if self.total is None else f" of {self.total:,g}")


class Worker(ReadOnlyModel):
    """A worker process."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField()
    hostname = models.TextField()
    pid = models.IntegerField()
    version = models.TextField()
    concurrency = models.IntegerField()
    threads = models.IntegerField()
    children = models.IntegerField()
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    ttl = models.DurationField()

    class Meta:
        """How Django sees the table."""

        managed = False
        db_table = '"pgqueue"."workers"'
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.name)

    @property
    def alive(self) -> bool:
        """Whether its heartbeat is younger than its time-to-live, by this machine's clock."""
        alive: bool = self.heartbeat_at + self.ttl > timezone.now()
        return alive
