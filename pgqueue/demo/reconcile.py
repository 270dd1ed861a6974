"""The sums that must hold, read from the database; reconcile.sql says what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pgqueue.connections import Connection

QUERY: Final = "select line, expected, found, holds from pgqueue_demo.reconciliation()"


@dataclass(frozen=True, slots=True)
class Line:
    """One sum: what must be, what is, and whether that is the same."""

    text: str
    expected: int
    found: int
    holds: bool


def lines(connection: Connection) -> list[Line]:
    """All lines, in their order."""
    return [Line(*row) for row in connection.execute(QUERY).fetchall()]
