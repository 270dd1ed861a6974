"""Django's database connections around each job, as Django keeps them around each request."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections, reset_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


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


def handler_with_connections(function: Callable[..., Any], *, is_async: bool) -> Any:
    """A handler that leaves Django's connections as the next one may find them."""
    if is_async:

        @wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            async with around_async_job():
                return await function(*args, **kwargs)

        return run_async

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with around_job():
            return function(*args, **kwargs)

    return run
