"""The app of the tests of crashes: healthy jobs, long ones, and those that kill their process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.context import JobContext

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS = "PGQUEUE_TEST_STARTS"
"""Names the file that gets the id of a job at each of its starts."""
GROUP = "PGQUEUE_TEST_MEMORY"
"""Names the file by which a process enters a group with little memory; empty: there is none."""

app = PgQueue(settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, threads=4))


def note(context: JobContext) -> None:
    """Say that a job has started; one line is one write, whole also when we are killed."""
    with Path(os.environ[STARTS]).open("ab", buffering=0) as file:
        file.write(b"%d\n" % context.id)


@app.task(name="healthy")
async def healthy(context: JobContext) -> None:
    """Do next to nothing."""
    note(context)


@app.task(name="healthy_thread")
def healthy_thread(context: JobContext) -> None:
    """Do next to nothing."""
    note(context)


@app.task(name="long")
async def long(context: JobContext, gate: str) -> None:
    """Run until the gate is open."""
    note(context)
    while not Path(gate).exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.02)


@app.task(name="long_thread")
def long_thread(context: JobContext, gate: str) -> None:
    """Run until the gate is open."""
    note(context)
    while not Path(gate).exists():
        threading.Event().wait(0.02)


@app.task(name="poison")
def poison(context: JobContext, how: str) -> None:
    """End the process it runs in."""
    note(context)
    WAYS[how]()


def exhaust() -> None:
    """Take memory until there is none: with too little for the whole process, only it is killed."""
    if not (group := os.environ[GROUP]):
        os.kill(os.getpid(), signal.SIGKILL)
    Path(group).write_text(str(os.getpid()))
    hoard = []
    while True:
        hoard.append(bytearray(b"x") * (16 << 20))


WAYS: dict[str, Callable[[], object]] = {
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": exhaust,
    "exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "fenced": lambda: os._exit(75),
}
