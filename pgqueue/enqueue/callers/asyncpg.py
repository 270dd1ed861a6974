"""asyncpg: a Connection, or the proxy of one that a pool lends."""

from __future__ import annotations

from typing import Any, Final

from pgqueue.enqueue.callers.explained import explained, not_in_transaction, only

_SQL: Final = "select pgqueue.enqueue($1::text)"
_ADVICE: Final = "enqueue inside `async with connection.transaction():`"


async def asend(conn: Any, document: str, required: bool) -> str:
    """In the transaction that is open; asyncpg begins none by itself."""
    with explained:
        if required and not conn.is_in_transaction():
            raise not_in_transaction(conn, _ADVICE)
        return only((await conn.fetchval(_SQL, document),))
