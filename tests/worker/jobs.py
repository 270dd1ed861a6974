"""The app that the tests' worker processes run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.context import JobContext
from pgqueue.retry import fixed

app = PgQueue(settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, threads=4))


@app.task(name="noop")
async def noop() -> None:
    """Do nothing."""


@app.task(name="waits")
async def waits(flag: str | None = None) -> None:
    """Wait for ever, and let itself be cancelled."""
    if flag is not None:
        Path(flag).touch()
    await asyncio.Event().wait()


@app.task(name="blocks")
def blocks(flag: str | None = None) -> None:
    """Wait for ever, and let nothing cancel it."""
    if flag is not None:
        Path(flag).touch()
    threading.Event().wait()


@app.task(name="waits_once")
async def waits_once(flag: str) -> None:
    """Wait for ever in the first process that runs it."""
    if not Path(flag).exists():
        Path(flag).touch()
        await asyncio.Event().wait()


@app.task(name="spawns")
def spawns(flag: str) -> None:
    """Leave a grandchild behind, in this process group, and block."""
    program = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        Path(flag).write_text(str(child.pid))
        threading.Event().wait()


@app.task(name="reads_stdin")
def reads_stdin() -> str:
    """What a handler finds on standard input."""
    return sys.stdin.read()


@app.task(name="effect", transactional=True, retry=fixed(0.01))
def effect(context: JobContext) -> None:
    """Write the job's id where a second effect would show."""
    context.connection.execute("insert into effects values (%s)", [context.id])


@app.task(name="blocks_until")
async def blocks_until(flag: str) -> None:
    """Wait until there is a second flag, beside the first."""
    Path(flag).touch()
    while not Path(f"{flag}.go").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)


_leaked: list[bytes] = []


@app.task(name="leaks")
def leaks(mib: int) -> None:
    """Take memory and never give it back."""
    _leaked.append(b"x" * (mib * 1024 * 1024))


impatient = PgQueue(
    settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, threads=4, cancel_grace=0.1)
)
impatient.task(name="blocks", retry=fixed(3600))(blocks.function)
