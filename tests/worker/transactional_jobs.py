"""The app whose worker processes are killed: a transactional task of every kind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.context import JobContext
from pgqueue.retry import fixed
from tests.worker.transacting import KINDS, Kind, awrite, give_sessions, own, task_name, write

SETTINGS = Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, threads=16, crash_cap=1000)

app = PgQueue(settings=SETTINGS)


@app.task(name="child")
def child() -> None: ...


def is_first(flag: str | None) -> bool:
    """Whether the handler shall wait for the end of its process; says that it is there."""
    if flag is None or Path(flag).exists():
        return False
    Path(flag).touch()
    return True


def define(kind: Kind) -> Any:
    """A handler that writes, and that waits for ever in the first process that runs it."""

    def plain(context: JobContext, flag: str | None = None, pause: float = 0) -> None:
        write(context, kind)
        child.using(own(context)).enqueue()
        time.sleep(pause)
        if kind.transactional == "session":
            context.session.flush()
        if is_first(flag):
            threading.Event().wait()

    async def coroutine(context: JobContext, flag: str | None = None, pause: float = 0) -> None:
        await awrite(context, kind)
        await child.using(own(context)).aenqueue()
        await asyncio.sleep(pause)
        if is_first(flag):
            await asyncio.Event().wait()

    return coroutine if kind.is_async else plain


for name, kind in KINDS.items():
    # Each driver needs an app of its own; the worker sees the tasks of all of them.
    source = PgQueue(settings=SETTINGS)
    give_sessions(source, kind.driver, lambda: os.environ["PGQUEUE_DATABASE_URL"])
    options: Any = {"transactional": kind.transactional, "retry": fixed(0.01)}
    source.task(name=task_name(name), **options)(define(kind))
    app._tasks.update(source._tasks)
