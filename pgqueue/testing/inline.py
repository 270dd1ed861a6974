"""Inline mode: an enqueue runs its job at once, in the transaction that it was enqueued in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Self

    from pgqueue.app import PgQueue
    from pgqueue.client import Producer
    from pgqueue.handle import JobHandle
    from pgqueue.job import NewJob

RunJob = Callable[[Any, int], object]
ARunJob = Callable[[Any, int], Coroutine[Any, Any, object]]

DEEPEST: Final = 20
"""Jobs that enqueue each other, each inside of the last: more is taken for a circle."""

_running: ContextVar[tuple[str, ...]] = ContextVar("pgqueue_inline", default=())


class InlineProducer:
    """Stands in for a Producer: brings jobs to the database as it does, and runs them.

    Args:
        producer: the one that it stands in for.
        tasks: names of the tasks that run at once; empty for all.
        run: runs a job through a connection.
        arun: as `run`, on an event loop.
    """

    def __init__(
        self, producer: Producer, tasks: Collection[str], run: RunJob, arun: ARunJob
    ) -> None:
        self._producer, self._tasks = producer, tasks
        self._run, self._arun = run, arun

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def waiting(self, patience: Any) -> Self:
        """As of the Producer."""
        return type(self)(self._producer.waiting(patience), self._tasks, self._run, self._arun)

    def one(self, job: NewJob) -> JobHandle[Any]:
        """Enqueue a job, and run it."""
        handle = self._producer.one(job)
        self._at_once(job, handle)
        return handle

    async def aone(self, job: NewJob) -> JobHandle[Any]:
        """As `one`."""
        handle = await self._producer.aone(job)
        await self._aat_once(job, handle)
        return handle

    def many(self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle[Any]]], object]) -> None:
        """Enqueue jobs, then run them in their order."""
        listed = list(jobs)
        handles: list[JobHandle[Any]] = []
        self._producer.many(listed, handles.extend)
        take(handles)
        for job, handle in zip(listed, handles, strict=True):
            self._at_once(job, handle)

    async def amany(
        self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle[Any]]], object]
    ) -> None:
        """As `many`."""
        listed = list(jobs)
        handles: list[JobHandle[Any]] = []
        await self._producer.amany(listed, handles.extend)
        take(handles)
        for job, handle in zip(listed, handles, strict=True):
            await self._aat_once(job, handle)

    def _at_once(self, job: NewJob, handle: JobHandle[Any]) -> None:
        if self._runs(job, handle):
            with _one_deeper(job.task):
                self._run(self._producer.connection, handle.id)

    async def _aat_once(self, job: NewJob, handle: JobHandle[Any]) -> None:
        if self._runs(job, handle):
            with _one_deeper(job.task):
                await self._arun(self._producer.connection, handle.id)

    def _runs(self, job: NewJob, handle: JobHandle[Any]) -> bool:
        return handle.created and (not self._tasks or job.task in self._tasks)


@contextmanager
def _one_deeper(task: str) -> Iterator[None]:
    chain = (*_running.get(), task)
    if len(chain) > DEEPEST:
        raise AssertionError(
            f"inline: {len(chain)} jobs inside of each other, {' -> '.join(chain[-4:])}: do they "
            "enqueue each other for ever? Run them by drain() instead"
        )
    token = _running.set(chain)
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def inline(app: PgQueue, tasks: Collection[str], run: RunJob, arun: ARunJob) -> Iterator[None]:
    """Run what the app enqueues inside of the block at once."""
    original = app.producer

    def producer(connection: Any, require_transaction: bool | None = None) -> Any:
        return InlineProducer(original(connection, require_transaction), tasks, run, arun)

    own: dict[str, Any] = vars(app)
    before: dict[str, Any] = {name: own[name] for name in ("producer", "_producer") if name in own}
    own["producer"], own["_producer"] = producer, producer(None)
    try:
        yield
    finally:
        del own["producer"], own["_producer"]
        own.update(before)
