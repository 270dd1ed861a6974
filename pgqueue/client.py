"""How an app's jobs reach the database: in the caller's transaction, or in one of its own."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import PoolTimeout

from pgqueue import connections
from pgqueue.config import mask_dsn
from pgqueue.enqueue import callers, contract
from pgqueue.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg_pool import ConnectionPool

    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.job import Enqueued, NewJob
    from pgqueue.payload import SizeWatch


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
    def transaction(self) -> Iterator[connections.Connection]:
        """A transaction of pgqueue's own, with time limits; committed at the end of the block.

        Raises:
            ConnectionFailed: the database does not answer, or was lost on the way: then it is
                unknown whether the transaction took place.
        """
        pool = self._pool()
        connection = self._take(pool)
        try:
            with connections.limited(connection, self._settings):
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
        sizes: told of large arguments.
        codec: encrypts the arguments.
    """

    own: OwnConnections
    limit: int
    connection: Any | None = None
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
        document = self._encode(job)
        return _handle(contract.decode(await callers.asend(self.connection, document)))

    def many(self, jobs: Iterable[NewJob]) -> list[JobHandle]:
        """Enqueue jobs, in order and in one transaction, a statement for each chunk."""
        answers = self.send(document for document, _ in self._encode_many(jobs))
        return [_handle(done) for answer in answers for done in contract.decode_many(answer)]

    async def amany(self, jobs: Iterable[NewJob]) -> list[JobHandle]:
        """As `many`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.many, jobs)
        handles: list[JobHandle] = []
        for document, _ in self._encode_many(jobs):
            answer = await callers.asend(self.connection, document)
            handles.extend(map(_handle, contract.decode_many(answer)))
        return handles

    def _encode(self, job: NewJob) -> str:
        return contract.encode(job, limit=self.limit, watch=self.sizes, codec=self.codec)

    def _encode_many(self, jobs: Iterable[NewJob]) -> Iterator[tuple[str, int]]:
        return contract.encode_many(jobs, limit=self.limit, watch=self.sizes, codec=self.codec)

    def send(self, documents: Iterable[str]) -> list[str]:
        """Send documents as they are, in one transaction; the answers, in order."""
        if self.connection is not None:
            return [callers.send(self.connection, document) for document in documents]
        with self.own.transaction() as connection:
            return [callers.send(connection, document) for document in documents]


def _handle(enqueued: Enqueued) -> JobHandle:
    return JobHandle(enqueued.id, enqueued.created)
