"""Waiting for jobs to end: their states, and what their handlers returned."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from pgqueue import payload, store
from pgqueue.codec import is_sealed, opened
from pgqueue.enqueue import contract
from pgqueue.errors import JobFailed, JobNotFound, WaitTimeout
from pgqueue.handle import id_of
from pgqueue.waits import Waits, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from pgqueue.client import OwnConnections
    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.handle import JobHandle
    from pgqueue.job import State
    from pgqueue.tasks import Task
    from pgqueue.waits import Answer, Ended

R = TypeVar("R")

_NOT_THERE: Final = (
    "no job has the id {}: its transaction has not been committed, so wait after the commit; or it "
    "ended, and was deleted"
)


class Results:
    """Waits for jobs; one in each app.

    Args:
        own: the app's own connections, for a look at once.
        dsn: asked when the first wait begins.
        settings: limits of time.
        codec: opens encrypted results.
        tasks: know the types of their results; a task that is not known here gives JSON data.
    """

    def __init__(
        self,
        own: OwnConnections,
        dsn: Callable[[], str],
        settings: Settings,
        codec: Codec | None,
        tasks: Mapping[str, Task[..., Any]],
    ) -> None:
        self._own, self._dsn, self._settings = own, dsn, settings
        self._codec, self._tasks = codec, tasks
        # By process id, as the pools of OwnConnections.
        self._waits: dict[int, Waits] = {}

    def wait(self, job: int, timeout: float | timedelta | None = None) -> State:
        """As `JobHandle.wait`."""
        return _found(job, self.ended([job], timeout)[job]).state

    async def await_(self, job: int, timeout: float | timedelta | None = None) -> State:
        """As `JobHandle.await_`."""
        return _found(job, (await self.aended([job], timeout))[job]).state

    def result(self, job: int, timeout: float | timedelta | None = None) -> Any:
        """As `JobHandle.result`."""
        return self.read(job, self.ended([job], timeout)[job])

    async def aresult(self, job: int, timeout: float | timedelta | None = None) -> Any:
        """As `JobHandle.aresult`."""
        return self.read(job, (await self.aended([job], timeout))[job])

    def ended(
        self, jobs: Sequence[int], timeout: float | timedelta | None
    ) -> dict[int, Ended | None]:
        """Wait until all of these jobs have ended; None stands for one that does not exist.

        Raises:
            WaitTimeout: some have not ended in time.
            ConnectionFailed: the database does not answer.
        """
        seconds = _seconds(timeout)
        if seconds == 0:
            return self._look(jobs)
        deadline = None if seconds is None else time.monotonic() + seconds
        waits = self._process_waits()
        answers = waits.watch(jobs)
        try:
            return {id_: answer.result(_left(deadline)) for id_, answer in answers.items()}
        except TimeoutError:
            raise _late(answers, seconds) from None
        finally:
            waits.forget(answers)

    async def aended(
        self,
        jobs: Sequence[int],
        timeout: float | timedelta | None,
    ) -> dict[int, Ended | None]:
        """As `ended`, without blocking the event loop."""
        seconds = _seconds(timeout)
        if seconds == 0:
            return await asyncio.to_thread(self._look, jobs)
        waits = self._process_waits()
        answers = waits.watch(jobs)
        try:
            async with asyncio.timeout(seconds):
                return {id_: await asyncio.wrap_future(each) for id_, each in answers.items()}
        except TimeoutError:
            raise _late(answers, seconds) from None
        finally:
            waits.forget(answers)

    def read(self, job: int, ended: Ended | None) -> Any:
        """What the job's handler returned.

        Raises:
            JobFailed: it did not succeed.
            JobNotFound: there is no such job.
            InvalidPayload, KeyMissing: as `JobHandle.result`.
        """
        done = _found(job, ended)
        if done.state != "succeeded":
            raise _failed(done)
        if done.result is None:
            return None
        value = payload.decode(done.result)
        if is_sealed(value):
            value = payload.decode(opened(self._codec, value, f"result of {done.task}"))
        task = self._tasks.get(done.task)
        return value if task is None else task.read_result(value)

    def close(self) -> None:
        """End this process's waits; a later one begins anew."""
        waits = self._waits.pop(os.getpid(), None)
        if waits is not None:
            waits.close()

    def _process_waits(self) -> Waits:
        waits = self._waits.get(os.getpid())
        if waits is None:
            waits = self._waits.setdefault(os.getpid(), Waits(self._dsn, self._settings))
        return waits

    def _look(self, jobs: Sequence[int]) -> dict[int, Ended | None]:
        with self._own.transaction() as connection:
            rows = store.execute(connection, "wait_look", {"ids": list(jobs)}).fetchall()
        ended = settled(rows, jobs)
        if missing := [id_ for id_ in jobs if id_ not in ended]:
            raise WaitTimeout(f"{_named(missing)} has not ended yet", missing)
        return ended


class Waiting:
    """What an app has to wait for jobs that it knows by handle or by id."""

    _results: Results

    def wait(self, job: JobHandle[Any] | int, timeout: float | timedelta | None = None) -> State:
        """As `JobHandle.wait`, also for a job that another process enqueued."""
        return self._results.wait(id_of(job), timeout)

    async def await_(
        self,
        job: JobHandle[Any] | int,
        timeout: float | timedelta | None = None,
    ) -> State:
        """As `wait`, without blocking the event loop."""
        return await self._results.await_(id_of(job), timeout)

    @overload
    def result(self, job: JobHandle[R], timeout: float | timedelta | None = None) -> R: ...
    @overload
    def result(self, job: int, timeout: float | timedelta | None = None) -> Any: ...
    def result(self, job: Any, timeout: float | timedelta | None = None) -> Any:
        """As `JobHandle.result`, also for a job that another process enqueued."""
        return self._results.result(id_of(job), timeout)

    @overload
    async def aresult(self, job: JobHandle[R], timeout: float | timedelta | None = None) -> R: ...
    @overload
    async def aresult(self, job: int, timeout: float | timedelta | None = None) -> Any: ...
    async def aresult(self, job: Any, timeout: float | timedelta | None = None) -> Any:
        """As `result`, without blocking the event loop."""
        return await self._results.aresult(id_of(job), timeout)

    @overload
    def results(
        self,
        jobs: Iterable[JobHandle[R]],
        timeout: float | timedelta | None = None,
        *,
        return_errors: Literal[False] = False,
    ) -> list[R]: ...
    @overload
    def results(
        self,
        jobs: Iterable[JobHandle[Any] | int],
        timeout: float | timedelta | None = None,
        *,
        return_errors: bool = False,
    ) -> list[Any]: ...
    def results(
        self,
        jobs: Iterable[JobHandle[Any] | int],
        timeout: float | timedelta | None = None,
        *,
        return_errors: bool = False,
    ) -> list[Any]:
        """Wait for the results of many jobs, in their order.

        Args:
            jobs: handles or ids.
            timeout: for all of them together; as of `JobHandle.wait`.
            return_errors: a JobFailed or JobNotFound stands in the list instead of being raised.

        Raises:
            JobFailed: of the first that did not succeed, once all have ended.
            WaitTimeout: its `ids` are the jobs that have not ended.
        """
        ids = [id_of(job) for job in jobs]
        return self._read(ids, self._results.ended(ids, timeout), return_errors)

    async def aresults(
        self,
        jobs: Iterable[JobHandle[Any] | int],
        timeout: float | timedelta | None = None,
        *,
        return_errors: bool = False,
    ) -> list[Any]:
        """As `results`, without blocking the event loop."""
        ids = [id_of(job) for job in jobs]
        return self._read(ids, await self._results.aended(ids, timeout), return_errors)

    def _read(
        self, ids: list[int], ended: Mapping[int, Ended | None], return_errors: bool
    ) -> list[Any]:
        def read() -> Iterator[Any]:
            for id_ in ids:
                try:
                    yield self._results.read(id_, ended[id_])
                except (JobFailed, JobNotFound) as error:
                    if not return_errors:
                        raise
                    yield error

        return list(read())


def _found(job: int, ended: Ended | None) -> Ended:
    if ended is None:
        raise JobNotFound(_NOT_THERE.format(job))
    return ended


def _failed(job: Ended) -> JobFailed:
    message = job.message
    if job.state == "expired" and not message:
        message = "nobody started it before its expires_at"
    error = JobFailed(job.id, job.task, job.state, job.error_type, message, job.traceback)
    if job.traceback:
        error.add_note(f"as recorded by its worker:\n{job.traceback}")
    return error


def _seconds(timeout: float | timedelta | None) -> float | None:
    return None if timeout is None else contract.patience("timeout", timeout)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _late(answers: Mapping[int, Answer], seconds: float | None) -> WaitTimeout:
    missing = [id_ for id_, answer in answers.items() if not answer.done() or answer.cancelled()]
    return WaitTimeout(f"{_named(missing)} has not ended after {seconds:g} s", missing)


def _named(ids: Sequence[int]) -> str:
    if len(ids) == 1:
        return f"job {ids[0]}"
    return f"each of {len(ids)} jobs, the first of them {ids[0]}," if ids else "a job"
