"""JobTester: what a test does with the jobs of its app."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError, JobNotFound
from pgqueue.handle import JobHandle
from pgqueue.job import NewJob
from pgqueue.tasks import Task
from pgqueue.testing import inline as inlining
from pgqueue.testing.ageing import ageing, ids_of, seconds_of
from pgqueue.testing.answering import aanswered, answered
from pgqueue.testing.async_hosts import async_host_of
from pgqueue.testing.calls import callee_of
from pgqueue.testing.choosing import host_of, is_django
from pgqueue.testing.looking import asserting, looking
from pgqueue.testing.matching import expect
from pgqueue.testing.pruning import pruning
from pgqueue.testing.running import Terms, draining, raise_error, running_one

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from pgqueue.job import State
    from pgqueue.testing.asking import Asking
    from pgqueue.testing.values import Drained, RanJob, SeenJob

    Jobs = JobHandle[Any] | SeenJob | int | Iterable[JobHandle[Any] | SeenJob | int]

T = TypeVar("T")

WAITING: tuple[State, ...] = ("ready", "blocked")
"""States of jobs that nobody has started, or that wait for a retry."""


class JobTester:
    """Runs the jobs of an app inside of a test, and looks at them.

    Everything happens through the test's connection and in its transaction, and is gone when that
    is rolled back. Each method has an asynchronous form with an `a` in front.

    Args:
        app: whose tasks.
        connection: what `task.using(...)` takes: a connection of psycopg, psycopg2, asyncpg or
            Django, a SQLAlchemy Connection or Session, sync or async. None: the app's own
            connections, which commit, as in production; for an app of `pgqueue.contrib.django`
            Django's connection, and so the transaction of its TestCase.
        hooks: call the app's and its tasks' hooks (`on_success`, ...) as each outcome is recorded.
    """

    def __init__(self, app: PgQueue, connection: Any = None, *, hooks: bool = True) -> None:
        if not isinstance(app, PgQueue):
            raise ConfigError(f"JobTester({app!r}): expected a PgQueue, and then the connection")
        self.app, self.connection, self.hooks = app, connection, hooks

    def drain(
        self,
        *,
        queue: str | None = None,
        with_scheduled: bool = False,
        limit: int = 1000,
        raises: bool = True,
    ) -> Drained:
        """Run the jobs that are due, and those that they enqueue, until none is due.

        They run one after the other on this thread: larger priority first, then by their time. How
        each ends is decided and recorded as a worker does it.

        Args:
            queue: run only the jobs of this queue.
            with_scheduled: run the others too, retries included: whenever nothing is due, time
                passes until something is, as by `age`.
            limit: attempts after which AssertionError is raised.
            raises: raise what a handler raised, once its attempt is recorded, and stop there.
                Retry, Snooze, Dead and Cancel are no errors. False records and goes on. What a hook
                raises is handled alike.

        Raises:
            Exception: what a handler or a hook raised, with a note that names the job.
            UnknownTask: a job of a task that this app does not have; with `raises`.
        """
        __tracebackhide__ = True
        terms = Terms(queue, with_scheduled, limit, raises, self.hooks)
        return self._answered(draining(self.app, terms))

    async def adrain(
        self,
        *,
        queue: str | None = None,
        with_scheduled: bool = False,
        limit: int = 1000,
        raises: bool = True,
    ) -> Drained:
        """As `drain`, on an event loop."""
        __tracebackhide__ = True
        terms = Terms(queue, with_scheduled, limit, raises, self.hooks)
        return await self._aanswered(draining(self.app, terms))

    def run_job(self, task: Any, *args: Any, **kwargs: Any) -> RanJob:
        """Enqueue one job, run one attempt of it, and say how it ended; raises no handler's error.

        Args:
            task: a task, also of Django's framework, or what `.job(...)` or `.using(...).job(...)`
                made of one, whose delay is ignored.
            args: the task's own arguments.
            kwargs: the same.
        """
        handle = self._handle(task, args, kwargs)
        return _ran(self._answered(running_one(self.app, handle.id, hooks=self.hooks)), handle)

    async def arun_job(self, task: Any, *args: Any, **kwargs: Any) -> RanJob:
        """As `run_job`, on an event loop."""
        if isinstance(task, Task | NewJob):
            handle = await self._producer().aone(_new_job(task, args, kwargs))
        else:
            handle = _handle_of(await task.aenqueue(*args, **kwargs))
        return _ran(
            await self._aanswered(running_one(self.app, handle.id, hooks=self.hooks)), handle
        )

    def enqueued(self, task: Any = None, *, states: Sequence[State] = WAITING) -> list[SeenJob]:
        """The jobs that wait to be run, in the order they were enqueued.

        Args:
            task: only of this one.
            states: of jobs in other states as well, such as ("succeeded",).
        """
        return self._answered(looking(self.app, task=_name(task), states=states))

    async def aenqueued(
        self, task: Any = None, *, states: Sequence[State] = WAITING
    ) -> list[SeenJob]:
        """As `enqueued`, on an event loop."""
        return await self._aanswered(looking(self.app, task=_name(task), states=states))

    def job(self, job: JobHandle[Any] | int) -> SeenJob:
        """A job, as this transaction sees it.

        Raises:
            JobNotFound: it sees none of that id.
        """
        return _only(self._answered(_found(self.app, job)), job)

    async def ajob(self, job: JobHandle[Any] | int) -> SeenJob:
        """As `job`, on an event loop."""
        return _only(await self._aanswered(_found(self.app, job)), job)

    def assert_enqueued(
        self,
        task: Any,
        *args: Any,
        count: int | None = None,
        states: Sequence[State] = WAITING,
        **expected: Any,
    ) -> list[SeenJob]:
        """Fail unless a job like this waits to be run.

        Args:
            task: its task.
            args: its arguments; those that are not given may be anything.
            count: exactly so many of them.
            states: where to look.
            expected: arguments by name, and `queue`, `priority`, `key` and `delay` (seconds or
                timedelta, give or take a second). `args={...}` for arguments of these names.

        Returns:
            The jobs like this.

        Raises:
            AssertionError: there is none, or another number; it shows what there is.
        """
        __tracebackhide__ = True
        return self._answered(
            asserting(self.app, expect(callee_of(task), args, expected), count, states)
        )

    async def aassert_enqueued(
        self,
        task: Any,
        *args: Any,
        count: int | None = None,
        states: Sequence[State] = WAITING,
        **expected: Any,
    ) -> list[SeenJob]:
        """As `assert_enqueued`, on an event loop."""
        __tracebackhide__ = True
        return await self._aanswered(
            asserting(self.app, expect(callee_of(task), args, expected), count, states)
        )

    def refute_enqueued(self, task: Any, *args: Any, **expected: Any) -> None:
        """Fail if a job like this waits to be run; see `assert_enqueued`."""
        __tracebackhide__ = True
        self.assert_enqueued(task, *args, count=0, **expected)

    async def arefute_enqueued(self, task: Any, *args: Any, **expected: Any) -> None:
        """As `refute_enqueued`, on an event loop."""
        __tracebackhide__ = True
        await self.aassert_enqueued(task, *args, count=0, **expected)

    def age(self, span: float | timedelta, *, jobs: Jobs | None = None) -> None:
        """Let time pass without waiting: all that is stored becomes older by this span.

        Delays and retries come due, windows of keys end, jobs reach their `expires_at`.

        Args:
            span: seconds, or a timedelta.
            jobs: handles, or ids: only for these.
        """
        self._answered(ageing(seconds_of(span), ids_of(jobs)))

    async def aage(self, span: float | timedelta, *, jobs: Jobs | None = None) -> None:
        """As `age`, on an event loop."""
        await self._aanswered(ageing(seconds_of(span), ids_of(jobs)))

    def prune(self) -> int:
        """Delete the jobs that are past their retention by now, as a worker would.

        With what this app and its tasks say of retention, but for what an operator has set.

        Returns:
            How many went.
        """
        return self._answered(pruning(self.app))

    async def aprune(self) -> int:
        """As `prune`, on an event loop."""
        return await self._aanswered(pruning(self.app))

    def inline(self, *tasks: Any, raises: bool = True) -> AbstractContextManager[None]:
        """While the block runs, what this app enqueues runs at once, inside of the enqueue.

        Each job runs in the transaction that it is enqueued in, whatever this tester's is. One with
        a delay waits. Jobs of `copy_jobs` do too: it knows no ids.

        Args:
            tasks: only these; by default all.
            raises: raise what a handler raised out of the enqueue, once it is recorded.
        """

        def run(connection: Any, job_id: int) -> None:
            other = JobTester(self.app, connection, hooks=self.hooks)
            _raised(other._answered(running_one(self.app, job_id, hooks=self.hooks)), raises)

        async def arun(connection: Any, job_id: int) -> None:
            other = JobTester(self.app, connection, hooks=self.hooks)
            _raised(await other._aanswered(running_one(self.app, job_id, hooks=self.hooks)), raises)

        return inlining.inline(self.app, [callee_of(task).name for task in tasks], run, arun)

    def _handle(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobHandle[Any]:
        if isinstance(task, Task | NewJob):
            handle: JobHandle[Any] = self._producer().one(_new_job(task, args, kwargs))
            return handle
        callee_of(task)
        return _handle_of(task.enqueue(*args, **kwargs))

    def _producer(self) -> Any:
        """The app's own, in inline mode too: who runs one job does not want it run twice."""
        return type(self.app).producer(self.app, self.connection)

    def _answered(self, asking: Asking[T]) -> T:
        """Answer what a rule asks for, until it returns."""
        __tracebackhide__ = True
        return answered(self.app, host_of(self.app, self.connection), asking)

    async def _aanswered(self, asking: Asking[T]) -> T:
        __tracebackhide__ = True
        if is_django(self.app, self.connection):
            # On the thread that Django's ORM calls of this test use.
            answer: T = await sys.modules["asgiref.sync"].sync_to_async(self._answered)(asking)
            return answer
        return await aanswered(self.app, async_host_of(self.app, self.connection), asking)


def _name(task: Any) -> str | None:
    return None if task is None else callee_of(task).name


def _found(app: PgQueue, job: JobHandle[Any] | int) -> Asking[list[SeenJob]]:
    return (yield from looking(app, id_=job if isinstance(job, int) else job.id))


def _only(found: list[SeenJob], job: JobHandle[Any] | int) -> SeenJob:
    if not found:
        raise JobNotFound(f"this transaction sees no job {job!r}")
    return found[0]


def _handle_of(result: Any) -> JobHandle[Any]:
    """The handle of a result of Django's framework."""
    return JobHandle(int(result.id), getattr(result, "created", True))


def _new_job(
    task: Task[..., Any] | NewJob, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> NewJob:
    if isinstance(task, Task):
        return task.job(*args, **kwargs)
    if args or kwargs:
        raise TypeError("run_job(job) takes no arguments besides a complete job")
    return replace(task, delay=None, run_at=None)


def _ran(ran: RanJob | None, handle: JobHandle[Any]) -> RanJob:
    if ran is None:
        raise AssertionError(
            f"job {handle.id} could not be run: another job holds the key, and it is not due, "
            "runs already, or has ended"
            if not handle.created
            else f"job {handle.id} could not be claimed: is it locked by another connection?"
        )
    return ran


def _raised(ran: RanJob | None, raises: bool) -> None:
    if ran is not None and raises:
        raise_error(ran)
