"""What an enqueue gives back: a job by its id, and the way to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import timedelta

    from typing_extensions import TypeVar

    from pgqueue.job import State
    from pgqueue.keys import Changed

if TYPE_CHECKING:
    # A default for type checkers alone: Python 3.11 has none, and needs none.
    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Awaiting(Protocol):
    """What a handle asks for the end of its job."""

    def wait(self, job: int, timeout: float | timedelta | None = None) -> State:
        """As `JobHandle.wait`."""

    async def await_(self, job: int, timeout: float | timedelta | None = None) -> State:
        """As `JobHandle.await_`."""

    def result(self, job: int, timeout: float | timedelta | None = None) -> Any:
        """As `JobHandle.result`."""

    async def aresult(self, job: int, timeout: float | timedelta | None = None) -> Any:
        """As `JobHandle.aresult`."""


@dataclass(frozen=True, slots=True)
class JobHandle(Generic[R_co]):
    """An enqueued job. Handles are equal when they name the same job.

    Attributes:
        id: the job's id.
        created: False when a job with the same key existed; `id` is then that job's.
        changed: "replaced" or "rescheduled", when `on_conflict` asked for that and the job that
            holds the key had not started; None when nothing was changed.
    """

    id: int
    created: bool = field(compare=False)
    changed: Changed | None = field(default=None, compare=False)
    _awaiting: Awaiting | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[JobHandle[Any]], tuple[object, ...]]:
        # A copy in another process names the job; what waits for it belongs to this one.
        return type(self), (self.id, self.created, self.changed)

    def wait(self, timeout: float | timedelta | None = None) -> State:
        """Wait until the job has ended.

        Args:
            timeout: seconds, or a timedelta; None waits as long as it takes, 0 only looks.

        Returns:
            "succeeded", "dead", "cancelled" or "expired".

        Raises:
            WaitTimeout: it has not ended by then; nothing happened to it.
            JobNotFound: it is not in the table: its transaction has not been committed, or it
                ended and was deleted.
            ConnectionFailed: the database does not answer.
        """
        return self._source().wait(self.id, timeout)

    async def await_(self, timeout: float | timedelta | None = None) -> State:
        """As `wait`, without blocking the event loop."""
        return await self._source().await_(self.id, timeout)

    @overload
    def result(
        self: JobHandle[Coroutine[Any, Any, T]], timeout: float | timedelta | None = None
    ) -> T: ...
    @overload
    def result(self, timeout: float | timedelta | None = None) -> R_co: ...
    def result(self, timeout: float | timedelta | None = None) -> Any:
        """Wait for what the handler returned, of the type that it is annotated with.

        Raises:
            JobFailed: the job is dead, cancelled or expired; says why, in words.
            InvalidPayload: the result does not fit the handler's annotation.
            KeyMissing: it is encrypted, and this process lacks the key.
            WaitTimeout, JobNotFound, ConnectionFailed: as `wait`.
        """
        return self._source().result(self.id, timeout)

    @overload
    async def aresult(
        self: JobHandle[Coroutine[Any, Any, T]], timeout: float | timedelta | None = None
    ) -> T: ...
    @overload
    async def aresult(self, timeout: float | timedelta | None = None) -> R_co: ...
    async def aresult(self, timeout: float | timedelta | None = None) -> Any:
        """As `result`, without blocking the event loop."""
        return await self._source().aresult(self.id, timeout)

    def _source(self) -> Awaiting:
        if self._awaiting is None:
            raise TypeError(
                f"this handle of job {self.id} was not made by an app in this process: "
                f"use app.wait({self.id}) or app.result({self.id})"
            )
        return self._awaiting


def id_of(job: JobHandle[Any] | int) -> int:
    """The id of a job that is named by its handle, or by the id itself."""
    return job if isinstance(job, int) else job.id
