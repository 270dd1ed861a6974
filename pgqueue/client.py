"""How an app's jobs reach the database: in the caller's transaction, or in one of its own."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from pgqueue import connections
from pgqueue.config import mask_dsn
from pgqueue.enqueue import callers, contract, copy
from pgqueue.enqueue.copy import Terms
from pgqueue.errors import ConnectionFailed, TransactionUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg_pool import ConnectionPool

    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.job import Enqueued, NewJob
    from pgqueue.payload import SizeWatch

_NO_CONNECTION: Final = (
    "a transaction is required, and without a connection the job commits on its own: "
    "using(connection), or say using(require_transaction=False) where that is meant"
)
PATIENCE: Final = 600.0
"""Seconds for which a transaction of our own waits for the next of many jobs to be made."""


@dataclass(frozen=True, slots=True)
class JobHandle:
    """An enqueued job. Handles are equal when they name the same job.

    Attributes:
        id: the job's id.
        created: False when a job with the same key existed; `id` is then that job's.
    """

    id: int
    created: bool = field(compare=False)


class OwnConnections:
    """A pool that is opened at its first use, one in each process that a fork makes.

    Args:
        dsn: asked when the pool opens, so that an app can exist before its database is known.
        settings: give the pool's size and the limits of each transaction.
    """

    def __init__(self, dsn: Callable[[], str], settings: Settings) -> None:
        self._dsn = dsn
        self._settings = settings
        # By process id: a forked child must not touch its parent's sockets. A dict, because
        # setdefault decides a race between threads without a lock that a fork could catch locked.
        self._pools: dict[int, ConnectionPool[connections.Connection]] = {}

    @contextmanager
    def transaction(self, *, idle: float | None = None) -> Iterator[connections.Connection]:
        """A transaction of pgqueue's own, with time limits; committed at the end of the block.

        Args:
            idle: as of `connections.limited`.

        Raises:
            ConnectionFailed: the database does not answer, or was lost on the way: then it is
                unknown whether the transaction took place.
        """
        pool = self._pool()
        connection = self._take(pool)
        try:
            with connections.limited(connection, self._settings, idle=idle):
                yield connection
        except psycopg.OperationalError as error:
            if not connection.closed:
                raise
            raise self._lost(error) from error
        finally:
            pool.putconn(connection)

    def close(self) -> None:
        """Close this process's connections; a later use opens new ones."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def _take(self, pool: ConnectionPool[connections.Connection]) -> connections.Connection:
        try:
            return pool.getconn()
        except PoolTimeout:
            # The pool knows only that time is up: a connection attempt of its own tells why.
            connections.connect(self._dsn(), self._settings, "client").close()
        raise ConnectionFailed(
            f"all {self._settings.pool_size} connections of the app's own pool were busy for "
            f"{self._settings.connect_timeout:g} s: raise Settings(pool_size=...)"
        )

    def _pool(self) -> ConnectionPool[connections.Connection]:
        pool = self._pools.get(os.getpid())
        if pool is not None:
            return pool
        size = self._settings.pool_size
        pool = connections.open_pool(self._dsn(), self._settings, "client", size=size)
        winner = self._pools.setdefault(os.getpid(), pool)
        if winner is not pool:
            pool.close()
        return winner

    def _lost(self, error: psycopg.OperationalError) -> ConnectionFailed:
        where = mask_dsn(self._dsn()) or "the database of the PG* variables"
        return ConnectionFailed(
            f"the connection to {where} was lost ({' '.join(str(error).split())}): it is unknown "
            "whether the transaction was committed; a job with a key can be enqueued again safely"
        )


@dataclass(frozen=True, slots=True)
class Producer:
    """Brings jobs to the database.

    Attributes:
        own: the app's own connections.
        limit: the largest arguments, in bytes of JSON.
        connection: the caller's, whose transaction the jobs belong to; None for a transaction of
            pgqueue's own, which is atomic with nothing of the caller's.
        require_transaction: refuse a connection whose next statement commits on its own, and no
            connection.
        sizes: told of large arguments.
        codec: encrypts the arguments.
    """

    own: OwnConnections
    limit: int
    connection: Any | None = None
    require_transaction: bool = False
    sizes: SizeWatch | None = None
    codec: Codec | None = None

    def one(self, job: NewJob) -> JobHandle:
        """Enqueue a job; what is wrong with it is raised before any SQL."""
        [answer] = self.send([self._encode(job)])
        return _handle(contract.decode(answer))

    async def aone(self, job: NewJob) -> JobHandle:
        """As `one`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.one, job)
        return _handle(contract.decode(await self._asend(self._encode(job))))

    def many(self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle]], object]) -> None:
        """Enqueue jobs, in order and in one transaction; `take` gets the handles of each chunk."""
        documents = (document for document, _ in self._encode_many(jobs))
        for answer in self.answers(documents):
            take(_handles(answer))

    async def amany(
        self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle]], object]
    ) -> None:
        """As `many`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.many, jobs, take)
        for document, _ in self._encode_many(jobs):
            take(_handles(await self._asend(document)))
        return None

    def copy(self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None) -> int:
        """Copy jobs without keys, in order and in one transaction; how many."""
        if self.connection is not None:
            return copy.copy(self.connection, jobs, self.terms(on_progress))
        self._check_own()
        with self.own.transaction(idle=PATIENCE) as connection:
            return copy.copy(connection, jobs, self.terms(on_progress))

    async def acopy(
        self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None
    ) -> int:
        """As `copy`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.copy, jobs, on_progress)
        return await copy.acopy(self.connection, jobs, self.terms(on_progress))

    def terms(self, on_progress: Callable[[int], object] | None) -> Terms:
        """What holds for all jobs of a COPY."""
        return Terms(self.limit, on_progress, self.require_transaction, self.sizes, self.codec)

    def _encode(self, job: NewJob) -> str:
        return contract.encode(job, limit=self.limit, watch=self.sizes, codec=self.codec)

    def _encode_many(self, jobs: Iterable[NewJob]) -> Iterator[tuple[str, int]]:
        return contract.encode_many(jobs, limit=self.limit, watch=self.sizes, codec=self.codec)

    def send(self, documents: Iterable[str]) -> list[str]:
        """Send documents as they are, in one transaction; the answers, in order."""
        return list(self.answers(documents))

    def answers(self, documents: Iterable[str]) -> Iterator[str]:
        """Send documents as they are, in one transaction; their answers, in order."""
        if self.connection is not None:
            required = self.require_transaction
            for document in documents:
                yield callers.send(self.connection, document, require_transaction=required)
            return
        self._check_own()
        with self.own.transaction(idle=PATIENCE) as connection:
            for document in documents:
                yield callers.send(connection, document)

    def _check_own(self) -> None:
        if self.require_transaction:
            raise TransactionUnusable(_NO_CONNECTION)

    async def _asend(self, document: str) -> str:
        required = self.require_transaction
        return await callers.asend(self.connection, document, require_transaction=required)


def _handle(enqueued: Enqueued) -> JobHandle:
    return JobHandle(enqueued.id, enqueued.created)


def _handles(answer: str) -> list[JobHandle]:
    return list(map(_handle, contract.decode_many(answer)))
