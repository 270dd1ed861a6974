"""The app whose handlers run in child processes."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.context import JobContext, current_job
from pgqueue.errors import Snooze
from pgqueue.retry import fixed

if os.environ.get("PGQUEUE_TEST_CHILD_CANNOT_START"):
    raise SystemExit(7)

app = PgQueue(settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2))


@app.task(name="tells", executor="process")
def tells(context: JobContext, word: str) -> dict[str, Any]:
    """What a handler sees in a child."""
    print(word)  # noqa: T201 - standard output is the handler's own
    return {
        "word": word,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "main": threading.current_thread() is threading.main_thread(),
        "same": current_job() is context,
        "meta": dict(context.meta),
        "stdin": sys.stdin.read(),
    }


@app.task(name="fails", executor="process", retry=fixed(3600))
def fails(how: str) -> object:
    """End badly."""
    if how == "raise":
        raise ValueError("no such photo")
    if how == "exit":
        sys.exit("enough")
    if how == "snooze":
        raise Snooze(3600)
    return {1, 2}


@app.task(name="dies", executor="process")
def dies(how: str) -> None:
    """End the process it runs in."""
    if how == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    else:
        os._exit(3)


@app.task(name="reports", executor="process")
def reports(context: JobContext, flag: str) -> None:
    """Say how far it is, wait until somebody has seen that, and say more."""
    context.progress(3, 10, "under way")
    while not Path(flag).exists():
        time.sleep(0.01)
    context.progress(10, 10, "done")


@app.task(name="sleeps", executor="process", retry=fixed(3600))
def sleeps(flag: str) -> str:
    """Sleep for ever, and tidy up when it is ended."""
    Path(flag).touch()
    try:
        time.sleep(600)
    finally:
        Path(flag).write_text("tidied up")
    return "never"


@app.task(name="ignores", executor="process", retry=fixed(3600))
def ignores(flag: str) -> None:
    """Sleep for ever, with a process of its own, and let no signal end it but the last one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        Path(flag).write_text(f"{os.getpid()} {child.pid}")
        while True:
            time.sleep(600)


@app.task(name="grows", executor="process", max_rss=150, retry=fixed(3600))
def grows(mib: int) -> int:
    """Take memory, and keep it until it is killed for that."""
    taken = b"x" * (mib * 1024 * 1024)
    if mib > 150:
        time.sleep(600)
    return len(taken)


@app.task(name="leaks", executor="process")
def leaks(mib: int) -> int:
    """Take memory and never give it back; the process."""
    _leaked.append(b"x" * (mib * 1024 * 1024))
    return os.getpid()


_leaked: list[bytes] = []


@app.task(name="effect", executor="process", transactional=True, retry=fixed(0.01))
def effect(context: JobContext, then: str = "") -> None:
    """Write the job's id where a second effect would show."""
    context.connection.execute("insert into effects values (%s)", [context.id])
    if then == "die" and context.meta.get("flag") and not Path(context.meta["flag"]).exists():
        Path(context.meta["flag"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "query":
        context.connection.execute("select pg_sleep(600)")


@app.task(name="noop", executor="process")
def noop() -> None:
    """Do nothing."""


@app.task(name="here")
async def here() -> None:
    """Do nothing, in the worker itself."""


@app.task(name="echoes", executor="process")
def echoes(text: str) -> str:
    """Give back what came."""
    return text


@app.task(name="logs", executor="process")
def logs() -> None:
    """Write to the log, through whatever logger."""
    logging.getLogger("somebody").warning("said in a child")


@app.task(name="forks", executor="process")
def forks(flag: str) -> str:
    """Fork a process that comes to the end of the handler too, and wait until it has ended."""
    if (pid := os.fork()) == 0:
        return "said by the fork"
    _, code = os.waitpid(pid, 0)
    Path(flag).write_text(str(os.waitstatus_to_exitcode(code)))
    return "said by the child"
