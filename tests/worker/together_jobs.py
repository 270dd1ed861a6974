"""The app whose features meet: in child processes, in transactions, in steps, under hooks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.context import JobContext
from pgqueue.crypto import AesGcmCodec
from pgqueue.retry import fixed
from pgqueue.worker.executors.processes import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTES = "PGQUEUE_TEST_NOTES"
"""Names the file that gets a line for whatever is to be counted."""
BREAKS = "PGQUEUE_TEST_BREAKS"
"""Names a file; while there is none, the executor of child processes breaks, once."""
KEY = "mt1fXgQh3Vt6cXw0RkWq2mP0mTbYF1lNn9y4f8cRZ5w="

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@dataclass
class Bill:
    """What a handler returns: values that JSON has no types for."""

    total: Decimal
    day: date
    pid: int


def note(what: str = "", **fields: Any) -> str:
    """Write a line of what happened, and in which process."""
    with Path(os.environ[NOTES]).open("a") as notes:
        notes.write(json.dumps(fields | {"what": what, "pid": os.getpid()}) + "\n")
    return what


def wait_for(gate: str) -> None:
    """Say that we are there, and wait until somebody opens the gate."""
    Path(f"{gate}.{os.getpid()}").touch()
    while not Path(gate).exists():
        time.sleep(0.01)


def die() -> None:
    """End this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """What a worker does to a handler that shall end."""
    raise KeyboardInterrupt


def make(dsn: str | None = None, *, crash_cap: int = 1) -> PgQueue:
    """The app, for a worker or for who enqueues."""
    settings = Settings(
        heartbeat=0.5,
        ttl=5.0,
        poll_interval=0.2,
        threads=4,
        crash_cap=crash_cap,
        cancel_grace=0.5,
    )
    app = PgQueue(dsn, settings=settings)
    app.carry(tenant)
    app.middleware(around)
    for told in (app.on_start, app.on_success, app.on_retry, app.on_dead):
        told(hear)
    app.on_expired(hear)
    app.on_cancelled(hear)
    children(app)
    dying(app)
    transactions(app)
    waiting(app)
    return app


def around(context: JobContext) -> Iterator[None]:
    """A middleware, round all handlers."""
    note(around=context.task, args=dict(context.args), tenant=tenant.get())
    yield


def hear(event: Any) -> None:
    """A hook, of all moments."""
    fields = {name: getattr(event, name) for name in ("id", "args", "result", "error_type")}
    note(moment=event.moment, **fields)


def children(app: PgQueue) -> None:
    """Tasks that run in child processes."""

    @app.task(name="bills", executor="process", retry=fixed(0.01), redact={"card"})
    def bills(context: JobContext, order: int, card: str) -> Bill:
        context.progress(context.attempt, 2, f"attempt {context.attempt}")
        context.step("reserve", note, f"reserve {order}")
        context.once(f"charge-{order}", note, f"charge {order} {card}")
        if context.attempt == 1:
            raise ValueError("once more")
        trace = str(context.meta.get("traceparent"))
        note(handler=context.id, tenant=tenant.get(), trace=trace)
        return Bill(Decimal("9.90"), date(2026, 11, 22), os.getpid())

    @app.task(name="vanishes", executor="process", ephemeral=True)
    def vanishes(context: JobContext) -> object:
        context.progress(1, 2)
        context.step("one", note, "vanishing")
        return object()


def dying(app: PgQueue) -> None:
    """Tasks that do to their child what should not be done, or stay in it for long."""

    @app.task(name="fragile", executor="process")
    def fragile(context: JobContext, how: str, flag: str = "") -> str:
        context.progress(1, 2)
        context.step("one", note, f"one of {context.id}")
        context.step("two", breaks, how, flag)
        return how

    def breaks(how: str, flag: str) -> None:
        if how == "die" and not (flag and Path(flag).exists()):
            if flag:
                Path(flag).touch()
            die()

    @app.task(name="babbles", executor="process")
    def babbles(what: str) -> None:
        # One is not for handlers. Its number is the worker's, and grows with its children.
        for descriptor in range(3, 256):
            with contextlib.suppress(OSError):
                os.write(descriptor, f"{what}\n".encode())
        time.sleep(600)

    @app.task(name="waits_apart", executor="process", retry=fixed(3600))
    def waits_apart(gate: str) -> int:
        wait_for(gate)
        return os.getpid()


def transactions(app: PgQueue) -> None:
    """Transactional tasks, some of them in child processes."""

    @app.task(name="follows")
    def follows() -> str:
        return tenant.get()

    @app.task(name="pays", executor="process", transactional=True)
    def pays(context: JobContext) -> Bill:
        context.progress(1, 1, "paid")
        context.connection.execute("insert into effects values (%s)", [context.id])
        follows.using(context.connection).enqueue()
        return Bill(Decimal("1.10"), date(2026, 1, 2), os.getpid())

    def commits_and_dies(context: JobContext, how: str = "die") -> None:
        session = context.session
        session.execute(text("insert into effects values (:id)"), {"id": context.id})
        event.listen(
            session, "after_commit", lambda _: interrupt() if how == "interrupt" else die()
        )

    for name, ephemeral in (("commits", False), ("commits_ephemeral", True)):
        app.task(name=name, executor="process", transactional="session", ephemeral=ephemeral)(
            commits_and_dies
        )

    @app.task(name="writes", transactional="session", ephemeral=True)
    def writes(context: JobContext, fail: bool = False) -> None:
        context.session.execute(text("insert into effects values (:id)"), {"id": context.id})
        if fail:
            raise ValueError("no")

    @app.task(name="awrites", transactional="session", ephemeral=True)
    async def awrites(context: JobContext, fail: bool = False) -> None:
        await context.asession.execute(text("insert into effects values (:id)"), {"id": context.id})
        if fail:
            raise ValueError("no")

    @app.task(name="waits_writing", transactional=True)
    def waits_writing(context: JobContext, gate: str) -> None:
        context.connection.execute("insert into effects values (%s)", [context.id])
        wait_for(gate)


def waiting(app: PgQueue) -> None:
    """Tasks of the worker's own process."""

    @app.task(name="noop")
    def noop() -> None: ...

    @app.task(name="kills")
    def kills() -> None:
        die()


def sealing(dsn: str | None = None) -> PgQueue:
    """An app that encrypts."""
    app = PgQueue(dsn, settings=Settings(poll_interval=0.2), codec=AesGcmCodec({"k": KEY}))

    @app.task(name="sealed", executor="process")
    def sealed(context: JobContext, secret: str) -> str:
        return str(context.step("reverse", str.join, "", secret[::-1]))

    return app


def broken_once() -> None:
    """Let the executor raise at the first thing that a child says; not in that child itself."""
    heard: Any = ProcessExecutor._heard

    def raise_once(self: ProcessExecutor, child: Any, message: Any) -> None:
        flag = Path(os.environ[BREAKS])
        if not flag.exists() and child.attempt is not None:
            flag.touch()
            raise AssertionError("a defect of the executor")
        heard(self, child, message)

    setattr(ProcessExecutor, "_heard", raise_once)  # noqa: B010 - mypy allows no other way


app = make()
lenient = make(crash_cap=3)
sealed_app = sealing()
if os.environ.get(BREAKS):
    broken_once()
