"""pg8000: a Connection of its DB-API, by it its cursors, and a native one."""

from __future__ import annotations

import sys
from typing import Any, Final

from pgqueue.enqueue.callers.explained import explained, not_in_transaction, only

_PLACEHOLDERS: Final = {
    "format": "%s",
    "pyformat": "%(jobs)s",
    "qmark": "?",
    "numeric": ":1",
    "named": ":jobs",
}
_SQL: Final = "select pgqueue.enqueue(cast({} as text))"
_NATIVE: Final = _SQL.format(":jobs")
_IDLE: Final = b"I"


def send(conn: Any, document: str, required: bool) -> str:
    """Through a cursor, in the parameter style that the host has set for its whole program."""
    if required and conn.autocommit and _is_idle(conn):
        raise not_in_transaction(conn, "set connection.autocommit = False")
    with explained:
        cursor = conn.cursor()
        module = sys.modules[type(cursor).__module__]
        style = getattr(cursor, "paramstyle", module.paramstyle)
        named = style in {"named", "pyformat"}
        values = {"jobs": document} if named else (document,)
        cursor.execute(_SQL.format(_PLACEHOLDERS[style]), values)
        return only(cursor.fetchone())


def send_native(conn: Any, document: str, required: bool) -> str:
    """A native connection begins only when it is told to."""
    if required and _is_idle(conn):
        raise not_in_transaction(conn, "run('begin') first")
    with explained:
        return only(conn.run(_NATIVE, jobs=document)[0])


def _is_idle(conn: Any) -> bool:
    """pg8000 has no public name for it; without the private one nothing is known to be open."""
    return bool(getattr(conn, "_transaction_status", _IDLE) in {_IDLE, None})
