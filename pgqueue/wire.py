"""A connection on which exchanges are sent before the earlier ones were answered.

psycopg's pipeline ends with waiting for all answers; between two exchanges the server then waits
for us. Here each exchange ends with a sync of its own, and is answered for itself: the server goes
on with the next one while we decode the last, and one thread serves several connections, because
nothing here waits unless it is asked to. Below the cursors of psycopg, on its libpq wrapper.
"""

from __future__ import annotations

import select
import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.types.numeric import Int8BinaryLoader

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from pgqueue.connections import Connection

_serial: Final = count()
"""A name is prepared once a connection, whatever became of what was prepared before."""


_OLDEST: Final = 14
"""The libpq in which a connection learned not to wait for each answer."""


def require_libpq() -> None:
    """Refuse a libpq that cannot send ahead; the server's version does not matter to that.

    Raises:
        ConfigError: it is older than 14.
    """
    if (version := psycopg.pq.version() // 10_000) < _OLDEST:
        raise ConfigError(
            f"a worker needs the libpq of PostgreSQL {_OLDEST} or newer, and psycopg has found that"
            f" of {version}: install a newer one, or one as a wheel:"
            ' pip install "pgqueue-jobs[binary]"'
        )


class Statement(NamedTuple):
    """A statement with its parameters as PostgreSQL reads them.

    Attributes:
        name: what it is prepared under.
        query: with $1, $2 ... for the parameters.
        values: the parameters as text without NUL, None for null.
    """

    name: str
    query: bytes
    values: Sequence[bytes | None]


class Flight:
    """An exchange on its way: statements that are one transaction.

    Attributes:
        landed: whether all of it was answered.
    """

    __slots__ = ("error", "landed", "results")

    def __init__(self) -> None:
        self.results: list[PGresult] = []
        self.error: psycopg.Error | None = None
        self.landed = False


class Wire:
    """Sends exchanges on one connection, and takes their answers; used by one thread.

    Between two exchanges the connection may be used in every other way.

    Args:
        connection: in autocommit mode.
        patience: seconds without an answer after which the connection is given up.
    """

    def __init__(self, connection: Connection, patience: float) -> None:
        self.connection, self._libpq, self._patience = connection, connection.pgconn, patience
        self._flights: deque[Flight] = deque()
        self._prepared: dict[str, bytes] = {}
        self._full = False
        self._transformer = Transformer(connection)
        # For all binary results on this connection: a datetime takes 0.4 us to make, and hardly a
        # row needs one.
        self._transformer.adapters.register_loader("timestamptz", Int8BinaryLoader)

    def interest(self) -> tuple[int, int]:
        """The socket and what to wait for on it, for a poll."""
        return self._libpq.socket, select.POLLIN | (select.POLLOUT if self._full else 0)

    def start(self, statements: Sequence[Statement]) -> Flight:
        """Send statements that are one transaction.

        Raises:
            psycopg.OperationalError: the connection is broken.
        """
        flight = Flight()
        try:
            if not self._flights:
                self._libpq.enter_pipeline_mode()
            for statement in statements:
                self._send(statement)
            self._libpq.pipeline_sync()
            self._full = bool(self._libpq.flush())
        except psycopg.Error:
            # Sent in part: what comes back could not be told apart.
            self.connection.close()
            raise
        self._flights.append(flight)
        return flight

    def _send(self, statement: Statement) -> None:
        name, query, values = statement
        if self.connection.prepare_threshold is None:
            self._libpq.send_query_params(query, values, result_format=Format.BINARY)
            return
        prepared = self._prepared.get(name)
        if prepared is None:
            prepared = self._prepared[name] = f"pgqueue_{name}_{next(_serial)}".encode()
            self._libpq.send_prepare(prepared, query)
        self._libpq.send_query_prepared(prepared, values, result_format=Format.BINARY)

    def pump(self) -> None:
        """Send and take what can be without waiting.

        Raises:
            psycopg.OperationalError: the connection is broken; nothing under way will land.
        """
        libpq = self._libpq
        self._full = bool(libpq.flush())
        libpq.consume_input()
        while self._flights and not libpq.is_busy():
            result = libpq.get_result()
            if result is not None:
                self._take(result)
            elif libpq.status == ConnStatus.BAD:
                raise self._flights[0].error or psycopg.OperationalError("the connection is lost")

    def _take(self, result: PGresult) -> None:
        flight = self._flights[0]
        status = result.status
        if status == ExecStatus.TUPLES_OK:
            flight.results.append(result)
        elif status == ExecStatus.PIPELINE_SYNC:
            self._flights.popleft()
            flight.landed = True
            if not self._flights:
                self._libpq.exit_pipeline_mode()
        elif status == ExecStatus.FATAL_ERROR and flight.error is None:
            flight.error = error_from_result(result)
            # What was prepared may be gone, or out of date: prepare anew, under other names.
            self._prepared.clear()

    def wait(self, flight: Flight) -> None:
        """Wait until an exchange has landed.

        Raises:
            psycopg.Error: it failed.
        """
        deadline = time.monotonic() + self._patience
        while not flight.landed:
            left = deadline - time.monotonic()
            if left <= 0:
                self.connection.close()
                raise psycopg.OperationalError(f"no answer for {self._patience:g} s")
            wait_for([self.interest()], left)
            self.pump()
        if flight.error is not None:
            raise flight.error

    def rows(self, result: PGresult, make: Callable[[Sequence[Any]], Any]) -> list[Any]:
        """The rows of a result, each made by `make`; times are microseconds since 2000."""
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, make)


def notifications(connection: Connection) -> Iterator[tuple[str, str]]:
    """The notifications that are there, by channel and payload; never waits.

    Not psycopg's notifies(), which waits for the socket first: that is silent about what came with
    the end of a pipeline (36 of 2,000 notifications), and it takes four times as long. What comes
    during other statements goes to the connection's handlers.

    Raises:
        psycopg.OperationalError: the connection is broken.
    """
    libpq = connection.pgconn
    libpq.consume_input()
    while (note := libpq.notifies()) is not None:
        yield note.relname.decode(), note.extra.decode("utf-8", "replace")


def wait_for(sockets: Sequence[tuple[int, int]], seconds: float) -> set[int]:
    """Wait until something of what was asked for can be done, or so long.

    Args:
        sockets: file descriptors and what to wait for, as select.poll takes them.
        seconds: at most.

    Returns:
        The file descriptors on which it can be done.
    """
    poll = select.poll()
    for descriptor, events in sockets:
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(max(seconds * 1000, 0))}
