"""What is set once for a whole session, on those of pgqueue's own connections that allow it.

They do when no pooler stands between. One in transaction mode would lend what we set to strangers,
and us connections on which nobody set it: there each transaction sets its limits for itself.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.rows import TupleRow

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

Answer = TypeVar("Answer")

# Poolers are told from servers in two ways, and must pass both. Most invent the process id that
# comes with the key for cancels (PgBouncer, Odyssey, PgCat, PgDog, Supavisor); but ProxySQL answers
# for pg_backend_pid() itself, and pgagroal passes a server's id on and lends that server to others
# all the same. So the server must also see our own end of the connection: the port, or on a Unix
# socket, where there is none, be a child of the process that listens there. Proxies that only pass
# bytes on, and address translation that changes ports, then look like poolers. They cost a
# statement for each transaction; a pooler taken for a server would cost others their work.
# Start-up options instead would be refused by some poolers, and by pgagroal be used for a
# connection that it lends to others, before anything could be asked.
_HOLD: Final = """
    select set_config(name, value, false)
    from unnest(%(names)s::text[], %(values)s::text[]) as wanted (name, value)
    where pg_backend_pid() = %(pid)s and coalesce(inet_client_port(), 0) = %(end)s"""


STYLES: Final = {"DateStyle": "ISO", "IntervalStyle": "postgres"}
"""The only ones that psycopg reads."""


class Own(psycopg.Connection[TupleRow]):
    """One of pgqueue's own connections.

    Attributes:
        held: what is set for the whole session, by name.
    """

    held: Mapping[str, str] | None = None


class Patient(Own):
    """One that is given up when it does not answer, as those of a worker must be.

    The server's limit of time does not help while the server is out of reach, and TCP sees no loss
    while something in between takes what is sent: a proxy that lost its server without a word.
    Costs 1 us a statement.

    Attributes:
        patience: seconds without an answer.
    """

    patience: float = 60.0

    def wait(self, gen: Generator[Any, Any, Answer], *args: Any, **kwargs: Any) -> Answer:
        """As psycopg's, through which every call goes; but not for ever.

        Raises:
            psycopg.OperationalError: no answer in time; the connection is closed.
        """
        return super().wait(self._in_time(gen), *args, **kwargs)

    def _in_time(self, gen: Generator[Any, Any, Answer]) -> Generator[Any, Any, Answer]:
        """What `gen` does, until time is up: psycopg comes by even when nothing was read."""
        deadline = time.monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer for {self.patience:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: Answer = done.value
            return answer


def hold(connection: Own, wanted: Mapping[str, str]) -> None:
    """Set this for the whole session if it is ours alone; `held` knows whether it was.

    Such a session may also be idle for as long as we keep it: a pool would find out that its
    connection was ended, and wait a second before it tries the next.

    Args:
        connection: in autocommit mode, else a rollback would undo it.
        wanted: values by name, as PostgreSQL reads them.

    Raises:
        psycopg.Error: the connection does not answer.
    """
    wished = {"idle_session_timeout": "0", **wanted}
    values = {
        "names": [*wished],
        "values": [*wished.values()],
        "pid": connection.pgconn.backend_pid,
        "end": _end(connection),
    }
    if connection.execute(_HOLD, values).rowcount:
        connection.held = wanted


def read_times(connection: Own) -> None:
    """See that times and intervals come as psycopg can read them, whatever the role's default is.

    Behind a pooler it is left alone: there the role must have them so.

    Raises:
        psycopg.Error: the connection does not answer.
    """
    told = connection.info.parameter_status
    if all((told(name) or style).startswith(style) for name, style in STYLES.items()):
        return
    autocommit, connection.autocommit = connection.autocommit, True
    hold(connection, STYLES)
    connection.autocommit = autocommit


def held(connection: psycopg.Connection[TupleRow], wanted: Mapping[str, str]) -> bool:
    """Whether this holds for the whole session, so that no transaction needs to set it."""
    found = connection.held if isinstance(connection, Own) else None
    return found is wanted or (found is not None and wanted.items() <= found.items())


def _end(connection: Own) -> int | None:
    """Our end as the server sees it: a port, or 0 on a Unix socket; None where it is a pooler's."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        if ours.family != socket.AF_UNIX:
            return int(ours.getsockname()[1])
        listener = _listener(ours)
    return 0 if listener and listener == _parent(connection.pgconn.backend_pid) else None


def _listener(ours: socket.socket) -> int:
    """Who listens on the Unix socket that we opened; 0 where that cannot be known."""
    if sys.platform != "linux":
        return 0
    peer = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, _, _ = struct.unpack("3i", peer)
    return int(process)


def _parent(process: int) -> int:
    """The parent of a process of this machine; 0 where that cannot be known."""
    try:
        told = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return 0
    return int(told.rpartition(b")")[2].split()[1])  # behind its name, which may hold anything
