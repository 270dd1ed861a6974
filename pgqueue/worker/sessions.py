"""Transactional tasks on SQLAlchemy: an ORM session or a connection, of the user's own engine.

The session is the user's: his class, options and events apply. Without one, the app's tasks get
sessions of an engine that is made here.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue import connections
from pgqueue.context import OwnTransaction
from pgqueue.outcome import HeldBack, Outcome, Settled
from pgqueue.worker import alchemy, finishing
from pgqueue.worker.guard import Guard, Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

    from pgqueue.config import Settings
    from pgqueue.worker.parts import Attempt


def handed(attempt: Attempt, session: Any, connection: Any, run: Any) -> OwnTransaction:
    """What the handler gets."""
    prefix = "a" if attempt.task.is_async else ""
    if attempt.task.transactional == "session":
        return OwnTransaction(f"{prefix}session", session, run)
    return OwnTransaction(f"{prefix}sa_connection", connection, run)


class Sessions:
    """Runs transactional `def` handlers on sessions; safe from many threads.

    Args:
        dsn: the workers' database.
        settings: give the time limits of the finish.
        size: connections at most, of the engine that is made when the app has no sessions.
    """

    def __init__(self, dsn: str, settings: Settings, size: int) -> None:
        self._dsn, self._settings, self._size = dsn, settings, size
        self._home = Home(dsn, settings)
        self._opening = threading.Lock()
        self._engine: Engine | None = None

    def run(self, attempt: Attempt, args: dict[str, Any]) -> Outcome:
        """Run a handler in a session's transaction, and finish its job there."""
        guard, context = Guard(attempt, self._settings), attempt.context()
        try:
            with self._new(attempt) as session:
                try:
                    self._begin(guard, session)
                except HeldBack:
                    raise
                except Exception as error:  # noqa: BLE001 - drivers have many errors for it
                    return finishing.no_connection(attempt, error)
                connection = session.connection()
                context.own = handed(attempt, session, connection, runner(session))
                values = finishing.values(attempt, attempt.call(args), self._settings)
                guard.finish(session, values)
                session.commit()
        except BaseException as error:  # of a child: told to end in the COMMIT
            done = finishing.ended(attempt, error, committing=guard.committing)
            if done is None:
                raise
            return done
        finally:
            context.own = None
        return Settled(*attempt.key)

    def _begin(self, guard: Guard, session: Session) -> None:
        place, name = guard.begin(session)
        if place != self._home.place:
            self._home.confirm(place, name)

    def _new(self, attempt: Attempt) -> Session:
        given = attempt.task.app.sessions
        if given is not None:
            return given()
        from sqlalchemy.orm import Session  # noqa: PLC0415 - loaded with the first session

        return Session(self._opened())

    def _opened(self) -> Engine:
        from sqlalchemy import create_engine  # noqa: PLC0415 - loaded with the first session

        with self._opening:
            if self._engine is None:
                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=lambda: psycopg.connect(**_parameters(self._dsn, self._settings)),
                    **_pool(self._settings, self._size),
                )
        return self._engine

    def close(self) -> None:
        """Close what was opened here; an engine of the user's stays his."""
        if self._engine is not None:
            self._engine.dispose()


class AsyncSessions:
    """Runs transactional `async def` handlers, on the executor's event loop; else as above."""

    def __init__(self, dsn: str, settings: Settings, size: int) -> None:
        self._dsn, self._settings, self._size = dsn, settings, size
        self._home = Home(dsn, settings)
        self._engine: AsyncEngine | None = None

    async def run(self, attempt: Attempt, args: dict[str, Any]) -> Outcome:
        """Run a handler in a session's transaction, and finish its job there."""
        guard, context = Guard(attempt, self._settings), attempt.context()
        try:
            async with self._new(attempt) as session:
                try:
                    await self._begin(guard, session)
                except HeldBack:
                    raise
                except Exception as error:  # noqa: BLE001 - drivers have many errors for it
                    return finishing.no_connection(attempt, error)
                connection = await session.connection()
                context.own = handed(attempt, session, connection, async_runner(session))
                values = finishing.values(attempt, await attempt.call(args), self._settings)
                await session.run_sync(guard.finish, values)
                await session.commit()
        except (Exception, asyncio.CancelledError) as error:
            done = finishing.ended(attempt, error, committing=guard.committing)
            if done is None:
                raise
            return done
        finally:
            context.own = None
        return Settled(*attempt.key)

    async def _begin(self, guard: Guard, session: AsyncSession) -> None:
        place, name = await session.run_sync(guard.begin)
        if place != self._home.place:
            await asyncio.to_thread(self._home.confirm, place, name)

    def _new(self, attempt: Attempt) -> AsyncSession:
        given = attempt.task.app.asessions
        if given is not None:
            return given()
        from sqlalchemy.ext.asyncio import AsyncSession  # noqa: PLC0415 - as above

        return AsyncSession(self._opened())

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            try:
                from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as above

                self._engine = create_async_engine(
                    "postgresql+psycopg://",
                    async_creator=self._connect,
                    **_pool(self._settings, self._size),
                )
            except ImportError as error:
                raise HeldBack(f"{error}: pip install 'sqlalchemy[asyncio]'") from None
        return self._engine

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        parameters = _parameters(self._dsn, self._settings)
        return await psycopg.AsyncConnection.connect(**parameters)

    async def aclose(self) -> None:
        """Close what was opened here; an engine of the user's stays his."""
        if self._engine is not None:
            await self._engine.dispose()


def _parameters(dsn: str, settings: Settings) -> dict[str, Any]:
    given = connections.parameters(dsn, settings, "handler")
    return given if settings.prepare else given | {"prepare_threshold": None}


def _pool(settings: Settings, size: int) -> dict[str, Any]:
    """A connection for each handler that may run, looked at before it is given out."""
    return {
        "pool_size": size,
        "max_overflow": 0,
        "pool_timeout": settings.connect_timeout,
        "pool_pre_ping": True,
        "isolation_level": "READ COMMITTED",
    }


def runner(session: Session) -> Callable[..., Any]:
    """What runs statements of pgqueue's in a session's transaction."""

    def run(name: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return alchemy.execute(session.connection(), name, values)

    return run


def async_runner(session: AsyncSession) -> Callable[..., Any]:
    """As `runner`, on an event loop."""

    async def run(name: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        def inside(plain: Session) -> list[tuple[Any, ...]]:
            return alchemy.execute(plain.connection(), name, values)

        return await session.run_sync(inside)

    return run
