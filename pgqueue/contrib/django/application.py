"""The app of a Django project: its database is one of DATABASES, its transactions are Django's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections

from pgqueue.app import PgQueue
from pgqueue.client import WAITS_OUTSIDE, Producer
from pgqueue.contrib.django import connections as around, transaction
from pgqueue.contrib.django.configuration import configuration, dsn_of
from pgqueue.contrib.django.known import KnownTasks
from pgqueue.enqueue import copy
from pgqueue.enqueue.callers import django

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from typing import Self

    from pgqueue.handle import JobHandle
    from pgqueue.job import NewJob
    from pgqueue.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class DjangoProducer(Producer):
    """Brings jobs to the database in the transaction that Django has open on `alias`.

    Attributes:
        alias: the database, as DATABASES names it.
    """

    alias: str

    async def aone(self, job: NewJob) -> JobHandle:
        """As `one`, from an event loop: on the thread that its other ORM calls use."""
        handle: JobHandle = await sync_to_async(self.one)(job)
        return handle

    async def amany(
        self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle]], object]
    ) -> None:
        """As `many`, from an event loop."""
        await sync_to_async(self.many)(jobs, take)

    def copy(self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None) -> int:
        """Copy jobs without keys, in Django's transaction; how many."""
        self.check_transaction()
        with transaction.driver_connection(self.alias) as connection:
            return copy.copy(connection, jobs, self.terms(on_progress))

    async def acopy(
        self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None
    ) -> int:
        """As `copy`, from an event loop."""
        copied: int = await sync_to_async(self.copy)(jobs, on_progress)
        return copied

    def answers(self, documents: Iterable[str]) -> Generator[str]:
        """Send documents as they are, in one transaction; their answers, in order."""
        return transaction.answers(self.alias, documents, required=self.require_transaction)

    def waiting(self, patience: Any) -> Self:
        """As in Producer; Django may have a transaction open, so nobody waits here."""
        if patience is not None:
            raise TypeError(WAITS_OUTSIDE)
        return self

    def check_transaction(self) -> None:
        """Raise TransactionUnusable where a transaction is required and Django has none open."""
        if self.require_transaction:
            django.check(connections[self.alias], required=True)


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
        self.middleware(around.middleware)
        self.middleware(around.async_middleware)

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
        producer = super().producer(connection, require_transaction)
        if connection is not None:
            return producer
        return DjangoProducer(
            self._own,
            self.settings.max_payload,
            alias=self.alias,
            require_transaction=producer.require_transaction,
            sizes=producer.sizes,
            codec=producer.codec,
            awaiting=producer.awaiting,
        )


@cache
def app_for(alias: str | None = None) -> DjangoApp:
    """The one app of a database; by default of PGQUEUE['DATABASE']."""
    return _app(alias or configuration().database)


@cache
def _app(alias: str) -> DjangoApp:
    return DjangoApp(alias)
