"""What a transactional handler gets of the test's connection, and takes for its job's transaction.

psycopg's connection is lent as it is. On SQLAlchemy the handler gets a session of the app's own
making on the test's Connection, whose transaction is a savepoint: the one that it would get in a
worker, except that its COMMIT is none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue.errors import TransactionEnded
from pgqueue.testing.async_hosts import WrappedHost
from pgqueue.worker import sessions
from pgqueue.worker.guard import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from pgqueue.testing.async_hosts import AsyncHost
    from pgqueue.testing.hosts import Driver, Host
    from pgqueue.worker.parts import Attempt


class Loan:
    """What was lent to one attempt, until it is taken back.

    Args:
        attempt: whose handler has it.
        session: on the test's connection; None where psycopg's connection was lent.
    """

    def __init__(self, attempt: Attempt, session: Session | None = None) -> None:
        self._attempt, self._session = attempt, session
        self._guarded: dict[str, Any] = {}
        self._transaction: Any = None
        self._ended: str | None = None

    def begin(self, connection: Connection) -> Connection:
        """Put the session on the test's connection, in a savepoint; that connection."""
        session = self._session
        if session is None or session.in_transaction():
            raise TypeError(
                f"{self._attempt.task.name}: PgQueue(sessions=...) gave a session that is in a "
                "transaction: it should make a new one whenever it is called"
            )
        session.bind = connection
        session.join_transaction_mode = "create_savepoint"
        session.begin()
        self._transaction = session.get_transaction()
        own = session.connection()
        self.guard(own)
        return own

    def guard(self, connection: Any) -> None:
        """Let nobody end the test's transaction through this connection, until it is taken back."""
        # Not by SQLAlchemy's events: those come when it has given that transaction up already.
        self._guarded = vars(connection)
        self._guarded.update(
            commit=partial(self._refuse, "tried to commit"),
            rollback=partial(self._refuse, "tried to roll back"),
        )

    def finish(self) -> None:
        """Write what the session holds.

        Raises:
            TransactionEnded: the handler committed or rolled back.
        """
        self._refuse_ended()
        if self._session is None:
            return
        if self._session.get_transaction() is not self._transaction:
            raise TransactionEnded(ENDED.format(what="ended"))
        self._session.flush()

    def commit(self) -> None:
        """Commit the session: the test's transaction has it now."""
        if self._session is not None:
            self._session.commit()

    def end(self) -> None:
        """Take back what was lent."""
        context = self._attempt.context()
        context.sync_connection = context.async_connection = context.own = None
        for word in ("commit", "rollback"):
            self._guarded.pop(word, None)
        if self._session is not None:
            self._session.close()

    def _refuse_ended(self) -> None:
        if self._ended is not None:
            raise TransactionEnded(ENDED.format(what=self._ended))

    def _refuse(self, what: str) -> None:
        self._ended = what
        self._refuse_ended()


def lend(attempt: Attempt, host: Host) -> Loan:
    """Give a transactional handler what it will ask its context for.

    Raises:
        TypeError: the test's connection leads to no such thing.
    """
    if attempt.task.transactional is True:
        return _lend_driver(attempt, host.driver())
    connection = None if attempt.task.is_async else host.alchemy()
    if connection is None:
        raise _no_session(attempt, type(host).__name__)
    session = _made(attempt.task.app.sessions, _session)
    loan = Loan(attempt, session)
    own = loan.begin(connection)
    attempt.context().own = sessions.handed(attempt, session, own, sessions.runner(session))
    return loan


async def alend(attempt: Attempt, host: AsyncHost) -> Loan:
    """As `lend`, on an event loop."""
    if attempt.task.transactional is True:
        return _lend_driver(attempt, await host.driver())
    if isinstance(host, WrappedHost):
        return lend(attempt, host.host)
    connection = await host.alchemy() if attempt.task.is_async else None
    if connection is None:
        raise _no_session(attempt, type(host).__name__)
    session = _made(attempt.task.app.asessions, _async_session)
    loan = Loan(attempt, session.sync_session)
    await host.inside(lambda: loan.begin(connection))
    run = sessions.async_runner(session)
    own = await session.connection()
    attempt.context().own = sessions.handed(attempt, session, own, run)
    return loan


def _lend_driver(attempt: Attempt, driver: Driver | None) -> Loan:
    wanted = psycopg.AsyncConnection if attempt.task.is_async else psycopg.Connection
    if not isinstance(driver, wanted):
        kind = "an async def" if attempt.task.is_async else "a plain def"
        has = type(driver).__name__ if driver is not None else "none"
        raise TypeError(
            f"{attempt.task.name} is {kind} task with transactional=True, whose context gives a "
            f"psycopg {wanted.__name__}; the connection of this test leads to {has}: test it "
            f"through one that leads to a psycopg {wanted.__name__}, or without a connection"
        )
    context = attempt.context()
    if isinstance(driver, psycopg.AsyncConnection):
        context.async_connection = driver
    else:
        context.sync_connection = driver
    loan = Loan(attempt)
    loan.guard(driver)
    return loan


def _no_session(attempt: Attempt, host: str) -> TypeError:
    kind, wanted = "a plain def", "a SQLAlchemy Session or Connection"
    if attempt.task.is_async:
        kind, wanted = "an async def", "a SQLAlchemy AsyncSession or AsyncConnection"
    return TypeError(
        f"{attempt.task.name} is {kind} task with transactional={attempt.task.transactional!r}: "
        f"test it with JobTester(app, connection) on {wanted}, or without a connection; this test "
        f"has neither ({host})"
    )


def _made(factory: Any, default: Callable[[], Any]) -> Any:
    """A new session; of a scoped one too, whose current session may be the test's own."""
    factory = getattr(factory, "session_factory", factory)
    return default() if factory is None else factory()


def _session() -> Any:
    from sqlalchemy.orm import Session  # noqa: PLC0415 - loaded with the first session

    return Session()


def _async_session() -> Any:
    from sqlalchemy.ext.asyncio import AsyncSession  # noqa: PLC0415 - as above

    return AsyncSession()
