"""What the database refused of an exchange, and how the next one goes differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import outcome, store
from pgqueue.errors import InvalidPayload
from pgqueue.outcome import Unsuccessful

if TYPE_CHECKING:
    from pgqueue.outcome import Succeeded
    from pgqueue.worker.ledger import Ledger

CAREFUL_FOR: Final = 60.0
"""Seconds to skip locked rows, once a finish has waited for one in vain."""

LOCKED: Final = "55P03"
# Data, integrity, program limit, a trigger of the user's: of one outcome, not of all.
BAD_VALUE: Final = ("22", "23", "54", "P0")
PUT_OFF: Final = 30.0
"""Seconds until an outcome is tried again that the table takes in no form, while others go on."""
TRY_AGAIN: Final = ("40001", "40P01")  # the database's default is above READ COMMITTED


class Refusals:
    """Learns from errors how outcomes are to be sent; called from the exchange's thread.

    Args:
        ledger: what is owed, in the order in which it is sent.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._careful_until = 0.0
        self._size = store.BATCH
        self._replaced: Unsuccessful | None = None

    def batch(self) -> list[Succeeded | Unsuccessful]:
        """The outcomes that the next exchange takes."""
        return self._ledger.batch(self._size)

    @property
    def apart(self) -> bool:
        """Whether batches are small, to find the outcome that was refused."""
        return self._size < store.BATCH

    def careful(self, now: float) -> bool:
        """Whether to skip locked rows."""
        return now < self._careful_until

    def recorded(self) -> None:
        """A batch was taken: the next one may be larger."""
        self._size = min(self._size * 2, store.BATCH)

    def understands(self, error: Exception, now: float) -> bool:
        """Whether trying again at once will help, now that it is known what was wrong."""
        state = getattr(error, "sqlstate", None) or ""
        if state == LOCKED and not self.careful(now):
            self._careful_until = now + CAREFUL_FOR
            return True
        return state in TRY_AGAIN or (state.startswith(BAD_VALUE) and self._isolate(error, now))

    def _isolate(self, error: Exception, now: float) -> bool:
        """An outcome was refused: halve the batch until it stands alone; then it is dead instead.

        If it is refused in that form too, it waits, so that the others are recorded.
        """
        sent = self.batch()
        if len(sent) > 1 or (sent and not self.apart):
            self._size = max(len(sent) // 2, 1)
            return True
        if not sent:
            return False
        if sent[0] is self._replaced:
            self._ledger.put_off(sent[0], now + PUT_OFF)
            return False
        refused = Unsuccessful(sent[0].id, sent[0].lease, "dead", ending="dead")
        refused.error_type = InvalidPayload.__name__
        refused.message = outcome.clean(f"PostgreSQL refused the outcome: {error}")
        self._ledger.replace(sent[0], refused)
        self._replaced = refused
        return True
