"""Carries outcomes out and jobs in: in one round trip, or, while busy, on two lines at once.

One round trip has one commit and the shortest way for a single job. But the server then works on
one core, and only while we wait. While jobs come fast, outcomes and claims go on a connection
each. With no handlers at all, two connections did 135,000 jobs/s where one fused did 78,000, on
two cores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgqueue import connections, store, wire
from pgqueue.outcome import Ephemeral, Succeeded, Unsuccessful
from pgqueue.wire import Wire

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.store import ExchangeReply, Sent, Takes
    from pgqueue.worker.link import Link
    from pgqueue.worker.loop import Wake
    from pgqueue.worker.reports import Reports

Finishing = Sequence[Succeeded | Unsuccessful]
Order = dict[str, Any]


class Line:
    """One connection on which exchanges wait for those before them.

    Args:
        link: gives the connection.
        settings: limits of time.
        who: of the worker: its id and name.
        reports: what handlers said: the last word of a job goes with its outcome.
    """

    def __init__(
        self, link: Link, settings: Settings, who: dict[str, Any], reports: Reports
    ) -> None:
        self._link, self._settings, self._who = link, settings, who
        self._reports = reports
        self._wire: Wire | None = None
        self._sent: deque[Sent] = deque()
        self.under_way: deque[Order] = deque()

    def go(self, **order: Any) -> None:
        """Send an exchange.

        Raises:
            psycopg.Error, ConnectionFailed: it could not be sent; nothing under way will land.
        """
        finishing: Finishing = order.get("finishing", ())
        succeeded = [done for done in finishing if type(done) is Succeeded]
        unsuccessful = [done for done in finishing if isinstance(done, Unsuccessful)]
        if len(succeeded) + len(unsuccessful) < len(finishing):
            order["ephemeral"] = [done for done in finishing if isinstance(done, Ephemeral)]
        if self._reports:
            order["progress"] = self._reports.unwritten((done.id, done.lease) for done in finishing)
        claim = {name: value for name, value in order.items() if name != "finishing"}
        self._sent.append(
            store.send(
                self._opened(),
                self._settings,
                succeeded=succeeded,
                unsuccessful=unsuccessful,
                **self._who,
                **claim,
            )
        )
        self.under_way.append(order)

    def round_trip(self, **order: Any) -> ExchangeReply:
        """Send an exchange while nothing is under way, and wait for what it brings."""
        self.go(**order)
        self.under_way.popleft()
        return self._sent.popleft().receive()

    def answer(self, *, wait: bool = False) -> tuple[Order, ExchangeReply] | None:
        """An order and what it brought; None when nothing has landed, or nothing is under way.

        Raises:
            psycopg.Error: as the exchange itself.
        """
        if not self._sent or not (wait or self._landed()):
            return None
        return self.under_way.popleft(), self._sent.popleft().receive()

    def interest(self) -> list[tuple[int, int]]:
        """What to wait for, while something is under way."""
        return [self._wire.interest()] if self._wire is not None and self._sent else []

    def give_up(self) -> None:
        """Forget what is under way; the connection with it, for its answers would come late."""
        self.under_way.clear()
        if self._sent:
            self._sent.clear()
            self._link.close()

    def _landed(self) -> bool:
        if not self._sent[0].landed and self._wire is not None:
            self._wire.pump()
        return self._sent[0].landed

    def _opened(self) -> Wire:
        connection = self._link.connection()
        if self._wire is None or self._wire.connection is not connection:
            self._wire = Wire(connection, connections.patience(self._settings))
        return self._wire


class Carrier:
    """The two connections of one worker's exchange.

    Args:
        link: for all, and for outcomes while busy.
        claims: for claims while busy.
        settings: limits of time.
        worker_id: who claims.
        worker: the worker's name.
        takes: which jobs it claims.
        wake: ends a wait.
        reports: what handlers said of their progress.
    """

    def __init__(
        self,
        link: Link,
        claims: Link,
        settings: Settings,
        *,
        worker_id: int,
        worker: str,
        takes: Takes,
        wake: Wake,
        reports: Reports,
    ) -> None:
        self._link, self._claim_link, self._wake = link, claims, wake
        who: dict[str, Any] = {"worker_id": worker_id, "worker": worker, "takes": takes}
        self.outcomes = Line(link, settings, who, reports)
        self.claims = Line(claims, settings, who, reports)

    def connection(self) -> tuple[Connection, bool]:
        """The connection for everything else, and whether it was opened just now."""
        connection = self._link.connection()
        return connection, self._link.fresh

    def together(self, finishing: Finishing, **claim: Any) -> ExchangeReply:
        """Finish and claim in one round trip; nothing else is under way."""
        return self.outcomes.round_trip(finishing=finishing, **claim)

    def wait(self, seconds: float, *, hear: bool) -> None:
        """Wait until something may have landed, or so long; `hear`: or until woken."""
        sockets = self.outcomes.interest() + self.claims.interest()
        if hear:
            self._wake.wait(seconds, sockets)
        else:
            wire.wait_for(sockets, seconds)

    def failed(self, error: Exception) -> float:
        """Note a failure; the pause before the next try, in seconds."""
        return self._link.failed(error)

    def worked(self) -> None:
        """Note that the database answers."""
        self._link.worked()

    def close(self) -> None:
        """Close the connection that only claims; the other's owner closes that."""
        self._claim_link.close()
