"""Threads of a worker that something ends, whatever it was: nothing may hang unseen."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import listen
from pgqueue.errors import PgQueueError
from pgqueue.telemetry import events
from pgqueue.worker.executors import threads, watch
from pgqueue.worker.steps import rota
from tests.waiting import wait_until
from tests.worker.processes import PROGRAM, Supervised

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]


async def exits() -> None:
    sys.exit(3)


async def is_interrupted() -> None:
    raise KeyboardInterrupt


async def in_a_task() -> None:
    await asyncio.create_task(exits())


async def in_an_interrupted_task() -> None:
    await asyncio.create_task(is_interrupted())


async def in_a_forgotten_task() -> None:
    task = asyncio.create_task(exits())
    await asyncio.sleep(0.01)
    assert isinstance(task.exception(), SystemExit)


async def in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)


async def by_a_stop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("handler", "state", "reason"),
    [
        (in_a_task, "dead", "SystemExit(3)"),
        (in_an_interrupted_task, "dead", "KeyboardInterrupt()"),
        (in_a_forgotten_task, "succeeded", "SystemExit(3)"),
        (in_a_callback, "succeeded", "SystemExit(3)"),
        (by_a_stop, "succeeded", "stop()"),
    ],
)
def test_what_a_handler_started_does_not_end_the_event_loop(
    app: PgQueue,
    table: Table,
    work: Work,
    handler: Callable[[], Any],
    state: str,
    reason: str,
) -> None:
    release = asyncio.Event()
    app.task(name="bad", max_attempts=1)(handler)

    @app.task(name="waits")
    async def waits() -> None:
        await release.wait()

    @app.task(name="releases")
    async def releases() -> None:
        release.set()

    waiting = table.add_one("waits")
    worker = work()
    table.wait(waiting, "running")
    table.wait(table.add_one("bad", max_attempts=1), state)
    [interrupted] = worker.seen(events.LoopInterrupted)
    assert reason in interrupted.reason
    table.wait(table.add_one("releases"), "succeeded")
    table.wait(waiting, "succeeded")
    assert worker.stop() == 0
    assert len(worker.seen(events.LoopInterrupted)) == 1


BREAKING = f"""
import os
from pgqueue.worker.burials import Burials

def bury(burials, connection):
    raise AssertionError("a defect of the burials")

Burials.bury = bury
{PROGRAM}
"""


def test_a_supervisor_whose_thread_ended_by_a_defect_stops_its_workers(
    dsn: str, table: Table
) -> None:
    """Nobody beats for them any more: they would be fenced and started again for ever."""
    with Supervised(dsn, program=BREAKING) as supervised:
        assert supervised.wait() == 1
        assert "the supervisor cannot go on" in supervised.output()
        assert "a defect of the burials" in supervised.output()
        assert "in bury" in supervised.output()
    assert table.connection.execute("select count(*) from pgqueue.workers").fetchone() == (0,)


class DefectError(Exception):
    """Of pgqueue's own code, as no handler can raise it."""


PARTS = {
    "pgqueue-async": (asyncio.BaseEventLoop, "_run_once"),
    "pgqueue-thread": (threads.ThreadExecutor, "_ended_in_time"),
    "pgqueue-watch": (watch.Watch, "_late"),
    "pgqueue-maintenance": (rota.Rota, "_call"),
    "pgqueue-heartbeat": (rota.Rota, "_call"),
    "pgqueue-listen": (listen.Listener, "_read"),
}


@pytest.mark.parametrize("thread", PARTS)
def test_a_worker_with_a_thread_that_ended_by_a_defect_ends(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    broken, loops = threading.Event(), list[asyncio.AbstractEventLoop]()

    @app.task(name="coroutine")
    async def coroutine() -> None:
        loops.append(asyncio.get_running_loop())

    @app.task(name="plain")
    def plain() -> None: ...

    place, name = PARTS[thread]
    whole = getattr(place, name)

    def part(self: Any, *args: Any) -> Any:
        if broken.is_set() and threading.current_thread().name == thread:
            raise DefectError(thread)
        return whole(self, *args)

    monkeypatch.setattr(place, name, part)
    worker = work()
    for task in ("coroutine", "plain"):
        table.wait(table.add_one(task, timeout=60.0), "succeeded")
    broken.set()
    loops[0].call_soon_threadsafe(loops.clear)
    table.add("plain", timeout=0.01, count=3)
    wait_until(lambda: worker.error, 30, "it ended")
    assert isinstance(worker.error, PgQueueError)
    assert isinstance(worker.error.__cause__, DefectError)
    [event] = worker.seen(events.WorkerBroken)
    assert str(event.exception) == thread
