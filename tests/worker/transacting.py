"""Every kind of transactional task, each with a handler that writes and then waits at a gate."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import psycopg
import psycopg2
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from pgqueue.context import JobContext
from pgqueue.retry import fixed
from tests.enqueue.hosts.dbapi import WholeConnection, pg8000_parameters
from tests.enqueue.hosts.host import parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.options import Transactional

EFFECTS = """
    create table effects (
        job_id bigint not null, lease bigint not null, attempt integer not null,
        primary key (job_id, lease))"""
INSERT = "insert into effects values (:job_id, :lease, :attempt)"
ROLE = "pgqueue:handler"


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"

    job_id: Mapped[int] = mapped_column(primary_key=True)
    lease: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]


class Kind(NamedTuple):
    """How a task declares its transaction; without a driver the engine is the worker's own."""

    transactional: Transactional
    is_async: bool
    driver: str | None = None


KINDS = {
    "plain": Kind(True, False),
    "coroutine": Kind(True, True),
    "session": Kind("session", False),
    "session psycopg2": Kind("session", False, "psycopg2"),
    "session pg8000": Kind("session", False, "pg8000"),
    "asession": Kind("session", True),
    "asession asyncpg": Kind("session", True, "asyncpg"),
    "sa_connection": Kind("connection", False, "psycopg"),
    "asa_connection": Kind("connection", True, "asyncpg"),
}


def task_name(kind: str) -> str:
    return kind.replace(" ", ".")


def write(context: JobContext, kind: Kind) -> None:
    """Write the effect of an attempt, through what its task declares."""
    values = {"job_id": context.id, "lease": context.lease, "attempt": context.attempt}
    if kind.transactional is True:
        context.connection.execute("insert into effects values (%s, %s, %s)", [*values.values()])
    elif kind.transactional == "session":
        context.session.add(Effect(**values))
    else:
        context.sa_connection.execute(text(INSERT), values)


async def awrite(context: JobContext, kind: Kind) -> None:
    values = {"job_id": context.id, "lease": context.lease, "attempt": context.attempt}
    if kind.transactional is True:
        insert = "insert into effects values (%s, %s, %s)"
        await context.aconnection.execute(insert, [*values.values()])
    elif kind.transactional == "session":
        context.asession.add(Effect(**values))
    else:
        await context.asa_connection.execute(text(INSERT), values)


def own(context: JobContext) -> Any:
    """The job's own transaction, whatever it is."""
    return (
        context.sync_connection or context.async_connection or (context.own and context.own.handle)
    )


def give_sessions(app: PgQueue, driver: str | None, dsn: Callable[[], str]) -> None:
    """Let an app's sessions use a driver; each connection asks anew where the database is."""

    def named() -> str:
        return make_conninfo(dsn(), application_name=ROLE)

    connect: dict[str, Callable[[], Any]] = {
        "psycopg": lambda: psycopg.connect(named()),
        "psycopg2": lambda: psycopg2.connect(named()),
        "pg8000": lambda: WholeConnection(**pg8000_parameters(dsn()), application_name=ROLE),
    }
    if driver in connect:
        url = f"postgresql+{driver}://"
        engine = create_engine(url, creator=connect[driver], poolclass=NullPool)
        app.sessions = sessionmaker(engine)
    elif driver == "asyncpg":

        async def open_asyncpg() -> Any:
            settings = {"application_name": ROLE}
            return await asyncpg.connect(**parameters(dsn()), server_settings=settings)

        app.asessions = async_sessionmaker(
            create_async_engine(
                "postgresql+asyncpg://", async_creator=open_asyncpg, poolclass=NullPool
            )
        )


class Gate:
    """Holds the first attempt in its middle: its write is done, its finish is not."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.waits_again = True
        self._met: set[int] = set()

    def meet(self, job_id: int) -> None:
        """Wait until it opens; with `waits_again` off, only the first attempt of each job does."""
        if job_id in self._met and not self.waits_again:
            return
        self._met.add(job_id)
        self.reached.set()
        assert self.opened.wait(20)


def register(app: PgQueue, name: str, gate: Gate) -> None:
    """Register the task of a kind, under the kind's name."""
    kind = KINDS[name]

    @app.task(name="child")
    def child() -> None: ...

    def end(context: JobContext, fail_first: bool, result: Any) -> Any:
        if fail_first and context.attempt == 1:
            raise ValueError("first")
        return {1} if result == "bad" else result

    def plain(context: JobContext, *, fail_first: bool = False, result: Any = None) -> Any:
        write(context, kind)
        child.using(own(context)).enqueue()
        gate.meet(context.id)
        return end(context, fail_first, result)

    async def coroutine(
        context: JobContext, *, fail_first: bool = False, result: Any = None
    ) -> Any:
        await awrite(context, kind)
        await child.using(own(context)).aenqueue()
        await asyncio.to_thread(gate.meet, context.id)
        return end(context, fail_first, result)

    options: Any = {"transactional": kind.transactional, "retry": fixed(0.01)}
    function: Any = coroutine if kind.is_async else plain
    app.task(name=task_name(name), **options)(function)
