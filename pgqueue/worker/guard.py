"""Guards a job's own transaction on a SQLAlchemy session: that it is one, and in the right place.

Written for a plain Session; an AsyncSession runs it inside of `run_sync`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueue import connections, store
from pgqueue.errors import TransactionEnded
from pgqueue.outcome import HeldBack
from pgqueue.worker import alchemy, execution, finishing

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from pgqueue.config import Settings
    from pgqueue.worker.parts import Attempt

ENDED = (
    "the handler {what} the job's own transaction: the worker commits it, together with the job's "
    "outcome; use begin_nested() for a part that may fail"
)
ELSEWHERE = (
    "its session leads to the database {name!r}, which is not the one that this worker serves: a "
    "transactional task can only write where its job is; check the engine of PgQueue(sessions=...)"
)
Place = tuple[str, str]
"""What tells one database of one server from all others."""


class Home:
    """Knows the worker's database, to tell it from others; safe from many threads."""

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._dsn, self._settings = dsn, settings
        self.place: Place | None = None

    def confirm(self, place: Place, name: str) -> None:
        """Look where the worker's own connections lead: the server may have started again.

        Raises:
            HeldBack: somewhere else.
            ConnectionFailed: nowhere.
        """
        with connections.connect(self._dsn, self._settings, "handler") as connection:
            [found] = store.execute(connection, "identify_database").fetchall()
        self.place = found
        if place != found:
            raise HeldBack(ELSEWHERE.format(name=name))


class Guard:
    """Begins and finishes the transaction of one attempt, and sees that nobody else ends it.

    Attributes:
        committing: whether the COMMIT may have reached the server.
    """

    def __init__(self, attempt: Attempt, settings: Settings) -> None:
        self._attempt, self._settings = attempt, settings
        self._mark = f"{attempt.job.id}:{attempt.job.lease}"
        self._connection: Connection | None = None
        self._ended: str | None = None
        self.committing = False

    def begin(self, session: Session) -> tuple[Place, str]:
        """Begin; which database it is, and its name.

        Raises:
            HeldBack: no transaction of a job can run on this session.
        """
        from sqlalchemy import event  # noqa: PLC0415 - loaded with the first session

        _check(session)
        if not session.in_transaction():
            session.begin()
        self._connection = connection = session.connection()
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            raise HeldBack("its session is in AUTOCOMMIT: each statement would commit by itself")
        [row] = alchemy.execute(connection, "mark_transaction", {"mark": self._mark})
        event.listen(connection, "commit", self._commits)
        event.listen(connection, "rollback", self._rolls_back)
        event.listen(session, "after_begin", self._begins)
        return (row[1], row[2]), row[3]

    def finish(self, session: Session, values: dict[str, Any]) -> None:
        """Write what the session holds, then the job's success under its lease.

        Raises:
            LeaseLost: somebody else has the job by now.
            TransactionEnded: the handler committed or rolled back.
        """
        self._refuse_ended()
        session.flush()
        connection = session.connection()
        limits = store.limits(self._settings)
        [(mark, *_)] = alchemy.execute(connection, "limit_transaction", limits)
        if mark != self._mark:
            raise TransactionEnded(ENDED.format(what="ended"))
        if said := execution.last_words(self._attempt):
            alchemy.execute(connection, "progress", said)
        if not alchemy.execute(connection, execution.finish_statement(self._attempt), values):
            raise finishing.lease_lost(self._attempt)
        self.committing = True

    def _refuse_ended(self) -> None:
        if self._ended is not None:
            raise TransactionEnded(ENDED.format(what=self._ended))

    def _commits(self, connection: Connection) -> None:
        if not self.committing:
            self._ended = "tried to commit"
            # SQLAlchemy takes a COMMIT that failed for an end, and would put the connection back
            # into its pool as it is: in the middle of a transaction.
            connection.dialect.do_rollback(connection.connection)
            self._refuse_ended()

    def _rolls_back(self, _connection: Connection) -> None:
        self._ended = self._ended or "rolled back"

    def _begins(self, _session: Session, _transaction: Any, connection: Connection) -> None:
        self._refuse_ended()
        if connection is not self._connection:
            raise TransactionEnded(
                f"the session begins on a second engine, {connection.engine!r}: the job's own "
                "transaction is one, on the database of its job"
            )


def _check(session: Session) -> None:
    """Refuse a session whose commit would not be one COMMIT of one connection.

    Raises:
        HeldBack: such a session.
    """
    if session.twophase:
        raise HeldBack("its session is twophase=True: a job's own transaction is one COMMIT")
    bind = session.get_bind()
    if not hasattr(bind, "connect"):
        raise HeldBack(f"its session is bound to {bind!r}: bind it to an engine")
    if bind.dialect.name != "postgresql":
        raise HeldBack(f"its session is bound to {bind.dialect.name}: not PostgreSQL")
