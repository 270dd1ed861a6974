"""The app of a Django project: its database is one of DATABASES, its transactions are Django's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from pgqueue.app import PgQueue
from pgqueue.client import Producer
from pgqueue.contrib.django import transaction
from pgqueue.contrib.django.configuration import configuration, dsn_of
from pgqueue.contrib.django.known import KnownTasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgqueue.client import JobHandle
    from pgqueue.job import NewJob
    from pgqueue.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class DjangoProducer(Producer):
    """Brings jobs to the database in the transaction that Django has open on `alias`.

    Attributes:
        alias: the database, as DATABASES names it.
        required: refuse to enqueue where no transaction is open.
    """

    alias: str
    required: bool = False

    async def aone(self, job: NewJob) -> JobHandle:
        """As `one`, from an event loop: on the thread that its other ORM calls use."""
        handle: JobHandle = await sync_to_async(self.one)(job)
        return handle

    async def amany(self, jobs: Iterable[NewJob]) -> list[JobHandle]:
        """As `many`, from an event loop."""
        handles: list[JobHandle] = await sync_to_async(self.many)(jobs)
        return handles

    def send(self, documents: Iterable[str]) -> list[str]:
        """Send documents as they are, in one transaction; the answers, in order."""
        return transaction.enqueue_all(self.alias, documents, required=self.required)


class DjangoApp(PgQueue):
    """A `PgQueue` on one of the project's databases.

    `enqueue` without a connection uses Django's own: inside of `transaction.atomic()` a job
    commits with the block, or never was. All else is as in PgQueue.

    Args:
        alias: the database, as DATABASES names it.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        super().__init__(settings=configuration().settings)
        self._known = KnownTasks(self, self._tasks)

    @property
    def dsn(self) -> str:
        """The DSN of the database that Django uses under this alias."""
        return dsn_of(self.alias)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """What a worker of this project runs: its own tasks, and those of Django's framework."""
        return self._known

    def producer(self, connection: Any, require_transaction: bool | None = None) -> Producer:
        """As in PgQueue; without a connection, in Django's transaction."""
        if connection is not None:
            asked = [] if require_transaction is None else [require_transaction]
            return super().producer(connection, *asked)
        return DjangoProducer(
            self._own,
            self.settings.max_payload,
            alias=self.alias,
            required=bool(require_transaction),
        )


@cache
def app_for(alias: str | None = None) -> DjangoApp:
    """The one app of a database; by default of PGQUEUE['DATABASE']."""
    return _app(alias or configuration().database)


@cache
def _app(alias: str) -> DjangoApp:
    return DjangoApp(alias)
