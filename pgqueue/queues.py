"""The settings of queues: how deep each may get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pgqueue import room, store
from pgqueue.enqueue import contract
from pgqueue.errors import InvalidJob
from pgqueue.views import QueueLimit

if TYPE_CHECKING:
    from datetime import timedelta

    from pgqueue.client import OwnConnections

MAX_DEPTH: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Queues:
    """Reads and writes the settings, each call a transaction of its own."""

    own: OwnConnections

    def set(self, name: str, *, max_depth: int | None) -> QueueLimit:
        """Set how many due jobs may wait in a queue before it takes no more.

        Args:
            name: the queue.
            max_depth: 1 to 10,000,000; None for no limit.

        Returns:
            The setting, with the count of a moment ago.

        Raises:
            InvalidJob: out of range.
            InvalidName: not the name of a queue.
        """
        contract.queue_name(name)
        whole = isinstance(max_depth, int) and not isinstance(max_depth, bool)
        if max_depth is not None and not (whole and 1 <= max_depth <= MAX_DEPTH):
            raise InvalidJob(
                f"max_depth: {max_depth!r} is refused; expected an integer from 1 to {MAX_DEPTH}, "
                "or None for no limit"
            )
        [limit] = self._run("queue_set", {"name": name, "max_depth": max_depth})
        return limit

    def all(self) -> list[QueueLimit]:
        """The queues that have settings, by name."""
        return self._run("queue_list", {})

    def wait_for_room(self, name: str, timeout: float | timedelta) -> None:
        """As `room.wait`."""
        contract.queue_name(name)
        room.wait(self.own.transaction, name, contract.patience("timeout", timeout))

    def _run(self, statement: str, values: dict[str, Any]) -> list[QueueLimit]:
        with self.own.transaction() as connection:
            return [QueueLimit(*row) for row in store.execute(connection, statement, values)]
