"""Many jobs at once: as documents in chunks, or by COPY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pgqueue.client import Producer
    from pgqueue.handle import JobHandle
    from pgqueue.job import NewJob

    Progress = Callable[[int], object]


class Bulk:
    """What enqueues many jobs in the transaction of a producer.

    Args:
        producer: brings them to the database.
        options: of `using`, which complete jobs do not take.
    """

    def __init__(self, producer: Producer, options: Mapping[str, Any]) -> None:
        self._producer, self._options = producer, options

    @overload
    def enqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: Literal[True] = True,
    ) -> list[JobHandle]: ...
    @overload
    def enqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: Literal[False],
    ) -> int: ...
    def enqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: bool = True,
    ) -> list[JobHandle] | int:
        """Enqueue any number of jobs in one transaction; `task.job(...)` makes them.

        The iterable is read in chunks of at most 10,000 jobs or 16 MiB, each one statement, so a
        generator of a million jobs stays small.

        Args:
            jobs: with their options; keys are honoured.
            on_progress: called with the number of jobs so far, after each statement.
            return_handles: False keeps no handles: memory stays flat, whatever the number.

        Returns:
            The handles, in the order of the jobs; or without them the number of jobs created.
        """
        self._refuse_options("enqueue_many")
        tally = _Tally(on_progress, keep=return_handles)
        self._producer.many(jobs, tally.take)
        return tally.handles if return_handles else tally.created

    @overload
    async def aenqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: Literal[True] = True,
    ) -> list[JobHandle]: ...
    @overload
    async def aenqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: Literal[False],
    ) -> int: ...
    async def aenqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        on_progress: Progress | None = None,
        return_handles: bool = True,
    ) -> list[JobHandle] | int:
        """As `enqueue_many`, on an async connection; without one, all of it in a thread."""
        self._refuse_options("aenqueue_many")
        tally = _Tally(on_progress, keep=return_handles)
        await self._producer.amany(jobs, tally.take)
        return tally.handles if return_handles else tally.created

    def copy_jobs(self, jobs: Iterable[NewJob], *, on_progress: Progress | None = None) -> int:
        """Enqueue jobs by COPY: the fastest way, for jobs without keys, through psycopg.

        Args:
            jobs: without keys; read 1,000 at a time.
            on_progress: called with the number of jobs so far, after each 1,000.

        Returns:
            The number of jobs; their ids are not known.

        Raises:
            InvalidJob: a job is refused, or has a key; of the first 1,000 before any SQL, and
                never so that it aborts the caller's transaction.
            TypeError: the connection is not one of psycopg.
        """
        self._refuse_options("copy_jobs")
        return self._producer.copy(jobs, on_progress)

    async def acopy_jobs(
        self, jobs: Iterable[NewJob], *, on_progress: Progress | None = None
    ) -> int:
        """As `copy_jobs`, on an AsyncConnection; without a connection, all of it in a thread."""
        self._refuse_options("acopy_jobs")
        return await self._producer.acopy(jobs, on_progress)

    def _refuse_options(self, called: str) -> None:
        if self._options:
            raise TypeError(
                f"{called} takes complete jobs, so using({', '.join(self._options)}) would be "
                "lost: set options where the job is made, task.using(...).job(...)"
            )


class _Tally:
    """What comes back of many jobs: the handles, or without them only how many.

    Args:
        on_progress: called after each statement with the number of jobs so far.
        keep: whether to keep the handles.

    Attributes:
        sent: jobs so far.
        created: those of them whose key no other job held.
        handles: in the order of the jobs; empty unless kept.
    """

    def __init__(self, on_progress: Progress | None, *, keep: bool) -> None:
        self._on_progress, self._keep = on_progress, keep
        self.sent = self.created = 0
        self.handles: list[JobHandle] = []

    def take(self, handles: list[JobHandle]) -> None:
        """Take in what one statement answered."""
        self.sent += len(handles)
        self.created += sum(handle.created for handle in handles)
        if self._keep:
            self.handles += handles
        if self._on_progress is not None:
            self._on_progress(self.sent)
