"""The app whose worker is measured: tasks that do nothing, or next to nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final, cast

from benchmarks import stamps
from pgqueue import PgQueue, Settings

if TYPE_CHECKING:
    from pgqueue.config import LoopName

LOOP: Final = "PGQUEUE_BENCH_LOOP"
"""Names the event loop of the workers: uvloop is installed, and the figures are without it."""

app = PgQueue(settings=Settings(loop=cast("LoopName", os.environ.get(LOOP, "asyncio"))))


@app.task(name="async_nothing")
async def async_nothing(number: int, text: str) -> None:
    """Do nothing, on the event loop."""
    del number, text


@app.task(name="async_ephemeral", ephemeral=True)
async def async_ephemeral(number: int, text: str) -> None:
    """Do nothing, and leave nothing."""
    del number, text


@app.task(name="thread_nothing")
def thread_nothing(number: int, text: str) -> None:
    """Do nothing, in a thread."""
    del number, text


@app.task(name="async_stamp")
async def async_stamp(number: int, text: str) -> None:
    """Say when it started."""
    del text
    stamps.stamp(number)


@app.task(name="async_sleep")
async def async_sleep(seconds: float) -> None:
    """Wait, as a handler does that calls a slow service."""
    await asyncio.sleep(seconds)


@app.task(name="async_hold")
async def async_hold(number: int, text: str) -> None:
    """Say when it started, and do not end."""
    del text
    stamps.stamp(number)
    await asyncio.Event().wait()


@app.task(name="thread_hold")
def thread_hold(number: int, text: str) -> None:
    """Say when it started, and do not end."""
    del text
    stamps.stamp(number)
    threading.Event().wait()
