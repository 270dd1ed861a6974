"""Django's database connections around each job, as Django keeps them around each request."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections, reset_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from pgqueue.context import JobContext


@contextmanager
def around_job() -> Iterator[None]:
    """Drop what is broken or too old before and after; CONN_MAX_AGE keeps the others."""
    reset_queries()
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@asynccontextmanager
async def around_async_job() -> AsyncIterator[None]:
    """The same on an event loop: a thread of its own for the job's ORM calls, closed at its end.

    Without it the ORM calls of all jobs would wait for each other on the one thread that asgiref
    has for a whole process.
    """
    context = ThreadSensitiveContext()
    async with context:
        try:
            yield
        finally:
            # The thread starts with the first such call, and a job without any pays for none.
            if context in SyncToAsync.context_to_thread_executor:
                await sync_to_async(connections.close_all)()


def middleware(_context: JobContext, call_next: Callable[[], Any]) -> Any:
    """Leave Django's connections as the next `def` handler may find them."""
    with around_job():
        return call_next()


async def async_middleware(
    _context: JobContext, call_next: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """As `middleware`, for `async def` handlers."""
    async with around_async_job():
        return await call_next()
