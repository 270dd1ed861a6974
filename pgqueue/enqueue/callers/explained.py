"""What goes wrong on the way, in words: one place for the errors of every driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pgqueue.errors import (
    AlreadyEnqueued,
    EnqueueError,
    InvalidJob,
    PgQueueError,
    QueueFull,
    SchemaError,
    TransactionUnusable,
)

if TYPE_CHECKING:
    from types import TracebackType

CLOSED: Final = "the connection is closed: enqueue through an open one"
ABORTED: Final = (
    "the transaction is aborted by an earlier error: roll back (to a savepoint, or all), then "
    "repeat what was lost"
)
REQUIRED: Final = (
    "a transaction is required, and this {name} commits each statement on its own: {advice}, or "
    "say using(..., require_transaction=False) where that is meant"
)
_READ_ONLY: Final = "the transaction is read-only: enqueue in one that may write, not on a standby"
_MISSING: Final = (
    "pgqueue's schema is missing or behind in this database: run `pgqueue migrate` ({message})"
)
_FORBIDDEN: Final = "this role may not enqueue ({message}): grant it what docs/enqueue.md lists"
_BY_STATE: Final[dict[str, tuple[type[PgQueueError], str]]] = {
    "PQ001": (InvalidJob, "{message}"),
    "PQ002": (EnqueueError, "{message}"),
    "PQ003": (QueueFull, "{message}"),
    "PQ004": (AlreadyEnqueued, "{message}"),
    "25P02": (TransactionUnusable, ABORTED),
    "25006": (TransactionUnusable, _READ_ONLY),
    "3F000": (SchemaError, _MISSING),
    "42P01": (SchemaError, _MISSING),
    "42703": (SchemaError, _MISSING),
    "42883": (SchemaError, _MISSING),
    "42501": (EnqueueError, _FORBIDDEN),
}
_UNUSABLE: Final = ("PendingRollbackError", "ResourceClosedError")
"""SQLAlchemy's own, raised before any SQL."""


class Explained:
    """What the caller can do something about becomes an error of ours; the rest passes."""

    def __enter__(self) -> None:
        """Begin; nothing is kept, so one object serves everybody."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and (ours := explanation(error)) is not None:
            raise ours from error


explained: Final = Explained()


def explanation(error: Exception) -> PgQueueError | None:
    """Our error for a driver's, or for what SQLAlchemy or Django wrapped around it."""
    if type(error).__name__ in _UNUSABLE:
        return TransactionUnusable(f"roll back, then repeat the whole transaction: {error}")
    theirs = driver_error(error)
    state, message = diagnosis(theirs)
    if state in _BY_STATE:
        kind, words = _BY_STATE[state]
        return kind(words.format(message=message))
    if type(theirs).__name__ == "InterfaceError" and _says_closed(message):
        return TransactionUnusable(CLOSED)
    return None


def not_in_transaction(conn: Any, advice: str) -> TransactionUnusable:
    """The error for a caller that must have a transaction and has none."""
    name = f"{type(conn).__module__}.{type(conn).__qualname__}"
    return TransactionUnusable(REQUIRED.format(name=name, advice=advice))


def only(row: Any) -> str:
    """The one text of the one row; a client_encoding of SQL_ASCII makes it bytes."""
    return row[0].decode() if isinstance(row[0], bytes) else str(row[0])


def driver_error(error: BaseException) -> Any:
    """SQLAlchemy keeps the driver's error as `orig`, Django as the cause."""
    wrapped = getattr(error, "orig", None)
    if wrapped is None and type(error).__module__ == "django.db.utils":
        wrapped = error.__cause__
    return wrapped or error


def diagnosis(error: Any) -> tuple[str | None, str]:
    """The SQLSTATE and the server's own words, without the context that drivers add."""
    fields = error.args[0] if error.args else None
    if isinstance(fields, dict):  # pg8000
        return fields.get("C"), str(fields.get("M"))
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    lines = str(error).splitlines()
    text = lines[0] if lines else ""
    # The asyncpg dialect of SQLAlchemy 2.0 puts "<class '...'>: " in front.
    return state, text.partition(">: ")[2] if text.startswith("<class ") else text


def _says_closed(message: str) -> bool:
    return "closed" in message or "released back to the pool" in message
