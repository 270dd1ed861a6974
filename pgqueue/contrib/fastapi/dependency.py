"""The dependency that enqueues in the transaction of a request.

FastAPI runs what stands behind the `yield` of a dependency after the response was sent (before
0.106, and again since 0.118): a commit there can fail when the client has read its 200. Hence ours
ends with the path operation, before the response, and looks whether the jobs would be committed
too late.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from fastapi import Depends, params

from pgqueue.app import Enqueuer
from pgqueue.client import Producer
from pgqueue.contrib.fastapi.transaction import Watch
from pgqueue.errors import ConfigError
from pgqueue.options import chosen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from typing import Self, Unpack

    from pgqueue.app import PgQueue
    from pgqueue.handle import JobHandle
    from pgqueue.job import NewJob
    from pgqueue.options import JobOptions

A = TypeVar("A")


class Jobs(Enqueuer):
    """Enqueues in the transaction of the request: the job commits with its data, or never was.

    `jobs.enqueue(task, ...)`, or `await jobs.aenqueue(task, ...)` where the session is
    asynchronous; `enqueue_many` takes `task.job(...)`.

    Attributes:
        connection: what the session dependency gave: the session, or the connection.
    """

    def __init__(self, app: PgQueue, connection: Any, watch: Watch) -> None:
        super().__init__(app, _WatchedProducer.of(app.producer(connection), watch), {})
        self.connection = connection

    def using(self, **options: Unpack[JobOptions]) -> Enqueuer:
        """The same with options for each job, as `jobs.using(priority=10).enqueue(task, ...)`."""
        given = chosen(options)
        producer = self._producer.waiting(given.pop("wait_when_full", None))
        return Enqueuer(self._app, producer, given)


@dataclass(frozen=True, slots=True)
class _WatchedProducer(Producer):
    """A producer that notes which transaction its jobs are in."""

    watch: Watch | None = None

    @classmethod
    def of(cls, producer: Producer, watch: Watch) -> Self:
        """The same producer, watched."""
        return cls(**{f.name: getattr(producer, f.name) for f in fields(producer)}, watch=watch)

    # Producer by its name: a dataclass with slots is a second class, which super() does not know.

    def one(self, job: NewJob) -> JobHandle:
        return self._noted(Producer.one(self, job))

    async def aone(self, job: NewJob) -> JobHandle:
        return self._noted(await Producer.aone(self, job))

    def many(self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle]], object]) -> None:
        Producer.many(self, jobs, take)
        self._noted(None)

    async def amany(
        self, jobs: Iterable[NewJob], take: Callable[[list[JobHandle]], object]
    ) -> None:
        await Producer.amany(self, jobs, take)
        self._noted(None)

    def copy(self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None) -> int:
        return self._noted(Producer.copy(self, jobs, on_progress))

    async def acopy(
        self, jobs: Iterable[NewJob], on_progress: Callable[[int], object] | None
    ) -> int:
        return self._noted(await Producer.acopy(self, jobs, on_progress))

    def _noted(self, answer: A) -> A:
        if self.watch is not None:
            self.watch.note()
        return answer


def enqueuer(app: PgQueue, session: Any) -> Any:
    """A dependency that gives `Jobs` on the session, or connection, that a route works with.

        SessionDep = Annotated[Session, Depends(get_session, scope="function")]
        JobsDep = Annotated[Jobs, enqueuer(app, SessionDep)]

    If the session's dependency ends after the response (a `yield` without `scope="function"`) and
    the route returns while its jobs are not committed, the route fails: the client would read its
    answer before, or without, the commit.

    Args:
        app: whose tasks are enqueued.
        session: what the routes use: an alias `Annotated[..., Depends(...)]`, or the
            `Depends(...)`. FastAPI shares a dependency only between equal declarations, so
            another `scope` or `use_cache=False` would be another session, and another transaction.

    Returns:
        What `fastapi.Depends` returns: put it into `Annotated`, or use it as a default.

    Raises:
        ConfigError: `session` is neither of these.
    """
    marker = _marker(session)
    late = _ends_after_the_response(marker)

    async def jobs(connection: Any) -> AsyncIterator[Jobs]:
        watch = Watch(connection)
        yield Jobs(app, connection, watch)
        if late and await watch.is_open():
            raise ConfigError(_TOO_LATE.format(name=_name(marker.dependency)))

    # FastAPI reads the signature; the annotation of a string could not name what is local here.
    jobs.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                "connection", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Any, marker]
            )
        ]
    )
    return Depends(jobs, scope="function")


_TOO_LATE = (
    "the route has returned, and its jobs are not committed: {name} ends after the response was "
    'sent, so a commit there can fail unseen. Declare it as Depends({name}, scope="function"), or '
    "commit in the route"
)


def _marker(session: Any) -> params.Depends:
    found = get_args(session)[1:] if get_origin(session) is Annotated else (session,)
    markers = [each for each in found if isinstance(each, params.Depends)]
    if len(markers) != 1 or markers[0].dependency is None or not markers[0].use_cache:
        raise ConfigError(
            f"enqueuer(app, {session!r}): pass what your routes use, Annotated[Session, "
            "Depends(get_session)] or that Depends(...), with the default use_cache=True. A "
            "function alone does not say which scope they use, and each scope has its own session"
        )
    return markers[0]


def _ends_after_the_response(marker: params.Depends) -> bool:
    """Whether FastAPI runs the end of this dependency when the response is sent."""
    return marker.scope != "function" and _yields(marker.dependency)


def _yields(dependency: Callable[..., Any] | None) -> bool:
    while isinstance(dependency, partial):
        dependency = dependency.func
    called = getattr(type(dependency), "__call__", None)  # noqa: B004 - an object's `__call__`
    unwrapped = [inspect.unwrap(each) for each in (dependency, called) if each is not None]
    return any(map(inspect.isgeneratorfunction, unwrapped)) or any(
        map(inspect.isasyncgenfunction, unwrapped)
    )


def _name(dependency: Callable[..., Any] | None) -> str:
    return getattr(dependency, "__name__", None) or repr(dependency)
