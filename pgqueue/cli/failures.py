"""What an error is to a user of the command line: an exit code and a sentence."""

from __future__ import annotations

from traceback import walk_tb
from typing import Final

from pgqueue.cli.output import clean
from pgqueue.errors import (
    ConfigError,
    ConnectionFailed,
    InvalidJob,
    JobNotFound,
    PgQueueError,
    SchemaError,
    UnknownTask,
)

FAILED: Final = 1
USAGE: Final = 2
NO_CONNECTION: Final = 3
SCHEMA: Final = 4
NOTHING_MATCHED: Final = 5

_CODES: Final[dict[type[PgQueueError], int]] = {
    ConfigError: USAGE,
    InvalidJob: USAGE,
    UnknownTask: USAGE,
    ConnectionFailed: NO_CONNECTION,
    SchemaError: SCHEMA,
    JobNotFound: NOTHING_MATCHED,
}
_NO_SCHEMA: Final = ("3F000", "42P01", "42883", "42703")

_TOO_SLOW: Final = "57014"
_ADVICE: Final = {
    "42501": "; pgqueue migrate grants prints what each kind of role needs",
    "55P03": ": another session holds it for long; try again when that has ended",
}


def explain(error: Exception) -> tuple[int | None, str]:
    """The exit code for an error and what to print; None for a defect of ours."""
    if isinstance(error, PgQueueError):
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
        return code, clean(str(error), keep="\n")
    if type(error).__module__.partition(".")[0] == "psycopg":
        return _explain_driver(error)
    if isinstance(error, ImportError) and _is_of_libpq(error):
        return USAGE, (
            f"psycopg finds no libpq ({clean(' '.join(str(error).split()))}): pip install"
            ' "pgqueue-jobs[binary]", or install libpq, which Debian calls libpq5'
        )
    return None, ""


def _is_of_libpq(error: ImportError) -> bool:
    """Whether psycopg raised it where it looks for libpq, when it is first imported."""
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "psycopg.pq" for frame, _ in frames)


def _explain_driver(error: Exception) -> tuple[int | None, str]:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None, ""
    said = clean(error.diag.message_primary or " ".join(str(error).split()))
    state = error.sqlstate
    if state in _NO_SCHEMA:
        return SCHEMA, f"the pgqueue schema is missing or behind ({said}): run pgqueue migrate"
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if state is None and not lost:
        return FAILED, f"what the database answered cannot be read: {said}"
    if state is None or state.startswith(("08", "57P")):
        return NO_CONNECTION, f"the connection to the database was lost: {said}"
    if state == _TOO_SLOW:
        return FAILED, "the database took too long: ask for less, by --state, --queue or --limit"
    return FAILED, f"the database refused ({state}): {said}{_ADVICE.get(state, '')}"
