"""How an app's jobs reach the database: in the caller's transaction, or in one of its own."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from pgqueue import connections, room
from pgqueue.config import mask_dsn
from pgqueue.enqueue import callers, contract, copy
from pgqueue.enqueue.copy import Terms
from pgqueue.errors import ConnectionFailed, QueueFull, TransactionUnusable
from pgqueue.handle import JobHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Self

    from psycopg_pool import ConnectionPool

    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.handle import Awaiting
    from pgqueue.job import Enqueued, NewJob
    from pgqueue.payload import SizeWatch

_NO_CONNECTION: Final = (
    "a transaction is required, and without a connection the job commits on its own: "
    "using(connection), or say using(require_transaction=False) where that is meant"
)
WAITS_OUTSIDE: Final = (
    "wait_when_full waits outside of any transaction, so it does not go together with a caller's: "
    "call app.wait_for_room(queue) before the transaction begins"
)
PATIENCE: Final = 600.0
"""Seconds for which a transaction of our own waits for the next of many jobs to be made."""


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
        # As enqueues need them; a transaction with another pause sets its own.
        hold = connections.bounds(self._settings, PATIENCE)
        pool = connections.open_pool(
            self._dsn(), self._settings, "client", size=size, hold=hold, patient=True
        )
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
        patience: seconds to wait for room in a full queue; only without a connection.
        awaiting: what the handles ask for the end of their jobs.
    """

    own: OwnConnections
    limit: int
    connection: Any | None = None
    require_transaction: bool = False
    sizes: SizeWatch | None = None
    codec: Codec | None = None
    patience: float = 0.0
    awaiting: Awaiting | None = None

    def one(self, job: NewJob) -> JobHandle[Any]:
        """Enqueue a job; what is wrong with it is raised before any SQL."""
        [answer] = self.send([self._encode(job)])
        return self._only(job, answer)

    async def aone(self, job: NewJob) -> JobHandle[Any]:
        """As `one`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.one, job)
        return self._only(job, await self._asend(self._encode(job)))

    def many(self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle[Any]]], object]) -> None:
        """Enqueue jobs, in order and in one transaction; `take` gets the handles of each chunk."""
        strict = contract.Strict()
        documents = (document for document, _ in self._encode_many(strict.noting(jobs)))
        # Closed at once when something is raised here: that undoes a transaction of our own.
        with closing(self.answers(documents)) as answers:
            for answer in answers:
                take(self._handles(strict, answer))

    async def amany(
        self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle[Any]]], object]
    ) -> None:
        """As `many`, on an async connection; without one, in a thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.many, jobs, take)
        strict = contract.Strict()
        for document, _ in self._encode_many(strict.noting(jobs)):
            take(self._handles(strict, await self._asend(document)))
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

    def waiting(self, patience: Any) -> Self:
        """This producer, with seconds or a timedelta to wait for room; None changes nothing.

        Raises:
            TypeError: it has a caller's transaction, in which nobody must wait.
            InvalidJob: out of range.
        """
        if patience is None:
            return self
        if self.connection is not None:
            raise TypeError(WAITS_OUTSIDE)
        return replace(self, patience=contract.patience("wait_when_full", patience))

    def _encode(self, job: NewJob) -> str:
        return contract.encode(job, limit=self.limit, watch=self.sizes, codec=self.codec)

    def _encode_many(self, jobs: Iterable[NewJob]) -> Iterator[tuple[str, int]]:
        return contract.encode_many(jobs, limit=self.limit, watch=self.sizes, codec=self.codec)

    def send(self, documents: Iterable[str]) -> list[str]:
        """Send documents as they are, in one transaction; the answers, in order."""
        return list(self.answers(documents))

    def answers(self, documents: Iterable[str]) -> Generator[str]:
        """Send documents as they are, in one transaction; their answers, in order."""
        if self.connection is not None:
            required = self.require_transaction
            for document in documents:
                yield callers.send(self.connection, document, require_transaction=required)
            return
        self._check_own()
        rest = iter(documents)
        first: list[str] = []
        end = time.monotonic() + self.patience
        while True:
            try:
                yield from self._own_answers(first, rest)
            except _FullAtFirst as full:
                if not self.patience:
                    raise full.error from full.error.__cause__
                room.wait(self.own.transaction, full.error.queue, end - time.monotonic())
            else:
                return

    def _own_answers(self, first: list[str], rest: Iterator[str]) -> Generator[str]:
        with self.own.transaction(idle=PATIENCE) as connection:
            first += islice(rest, 1 - len(first))
            try:
                answers = [callers.send(connection, document) for document in first]
            except QueueFull as error:
                raise _FullAtFirst(error) from None
            yield from answers
            for document in rest:
                yield callers.send(connection, document)

    def _check_own(self) -> None:
        if self.require_transaction:
            raise TransactionUnusable(_NO_CONNECTION)

    async def _asend(self, document: str) -> str:
        required = self.require_transaction
        return await callers.asend(self.connection, document, require_transaction=required)

    def _only(self, job: NewJob, answer: str) -> JobHandle[Any]:
        enqueued = contract.decode(answer)
        contract.check(job, enqueued)
        return self._handle(enqueued)

    def _handles(self, strict: contract.Strict, answer: str) -> list[JobHandle[Any]]:
        enqueued = contract.decode_many(answer)
        strict.check(enqueued)
        return [self._handle(done) for done in enqueued]

    def _handle(self, enqueued: Enqueued) -> JobHandle[Any]:
        return JobHandle(enqueued.id, enqueued.created, enqueued.changed, self.awaiting)


class _FullAtFirst(Exception):
    """The first document was refused: nothing of the call has been used up, it can be repeated."""

    def __init__(self, error: QueueFull) -> None:
        super().__init__()
        self.error = error
