"""Sweeps away idempotency keys that nobody holds: windows that are over, jobs that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection

NAME: Final = "keys"
EVERY: Final = 5.0
"""Seconds. An enqueue looks at the key itself, so this only tidies up."""

PART: Final = 1000
"""Keys in one transaction: what it locks is free again after some milliseconds."""

PARTS: Final = 100
"""Parts of one turn at most."""


class SweepKeys:
    """A step that walks through the keys, a part at a time, and then again from the beginning.

    It goes on within its turn while a part is worth it (a quarter of it or more was free), so that
    what is left over stays a share of what is held, however fast keys come and go.
    """

    every = EVERY

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, connection: Connection) -> float:
        """Sweep while it is worth it."""
        for _ in range(PARTS):
            seen, gone = self._sweep(connection)
            if gone * 4 < seen or not seen:
                break
        return EVERY

    def _sweep(self, connection: Connection) -> tuple[int, int]:
        """Sweep a part: how many keys it had, and how many are gone."""
        with connection.transaction():
            part = {"name": NAME, "size": PART}
            [(scopes, keys, last, seen)] = store.run(connection, self._settings, "keys_lock", part)
            place = last if seen == PART else None
            free = {"name": NAME, "scopes": scopes, "keys": keys, "place": place}
            [(gone,)] = store.run(connection, self._settings, "keys_delete", free)
        return seen, gone
