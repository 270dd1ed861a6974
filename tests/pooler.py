"""A pooler in transaction mode, as PgBouncer is one: each transaction may meet another server.

It is harsher than the real one: a client's next transaction goes to the connection that has been
idle for longest, so with two of them never to the one before. It knows no prepared statements.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

SSL, GSS = 80877103, 80877104
ANSWERED: Final = {b"Q"[0], b"S"[0], b"F"[0]}
"""Query, Sync and function call: each is answered by one ReadyForQuery."""

KEY: Final = b"K\0\0\0\x0c"
"""BackendKeyData: four bytes of process id and four of secret come behind it."""

READY: Final = b"Z"[0]
TERMINATE: Final = b"X"[0]


class Stream:
    """One side's messages: a byte for the kind, four for the length, the rest."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._held = b""

    def read(self) -> Iterator[bytes]:
        """Wait for bytes; the messages that are complete with them."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError
        self._held += data
        while len(self._held) >= 5:
            end = 1 + struct.unpack("!I", self._held[1:5])[0]
            if len(self._held) < end:
                return
            message, self._held = self._held[:end], self._held[end:]
            yield message


class Link(Stream):
    """A connection to the server, and what the server said when it was made."""

    def __init__(self, target: str | tuple[str, int], startup: bytes) -> None:
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
        super().__init__(socket.socket(family))
        self.socket.connect(target)
        self.socket.sendall(startup)
        self.greeting = b""
        while not self.greeting.endswith(b"Z\0\0\0\5I"):
            self.greeting += b"".join(self.read())


class Pooler:
    """Lends its server connections to clients for a transaction at a time.

    Args:
        dsn: of a server that asks for no password.
        size: connections to the server, for all clients together.
        tcp: be reached on a port of 127.0.0.1, not on a Unix socket.
        invents: give each client a key of its own, as PgBouncer does; else clients get the key of
            the server that was there when they came, as from pgagroal.

    Attributes:
        dsn: the way to the same database through the pooler.
        transactions: how many were lent a connection so far.
    """

    def __init__(
        self, dsn: str, size: int = 2, *, tcp: bool = False, invents: bool = False
    ) -> None:
        with psycopg.connect(dsn) as connection:
            host, port = connection.info.host, connection.info.port
        self._target: str | tuple[str, int] = (
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        )
        self._size, self._invents = size, invents
        self._idle: deque[Link] = deque()
        self._changed = threading.Condition()
        self._made = 0
        self.transactions = 0
        self._folder = tempfile.TemporaryDirectory(prefix="pgq-pooler-")
        self._listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        if tcp:
            self._listener.bind(("127.0.0.1", 0))
            host, port = self._listener.getsockname()
        else:
            self._listener.bind(str(Path(self._folder.name, ".s.PGSQL.5432")))
            host, port = self._folder.name, 5432
        self.dsn = conninfo.make_conninfo(dsn, host=host, port=port)
        self._listener.listen(16)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for link in self._idle:
            link.socket.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if client.family == socket.AF_INET:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError):
            startup = _startup(client)
            link = self._take(startup)
            client.sendall(self._greeting(link))
            self._give(link)
            stream = Stream(client)
            while self._transaction(stream, startup):
                pass

    def _greeting(self, link: Link) -> bytes:
        if not self._invents:
            return link.greeting
        at = link.greeting.index(KEY) + len(KEY)
        return link.greeting[:at] + secrets.token_bytes(8) + link.greeting[at + 8 :]

    def _transaction(self, client: Stream, startup: bytes) -> bool:
        """Pass one transaction on; False when the client says goodbye."""
        messages = list(client.read())
        if not messages:
            return True
        if messages[0][0] == TERMINATE:
            return False
        link = self._take(startup)
        self.transactions += 1
        try:
            self._pass_on(client, link, messages)
        except BaseException:
            self._lose(link)
            raise
        self._give(link)
        return True

    def _pass_on(self, client: Stream, link: Link, messages: list[bytes]) -> None:
        """Both ways, until the server is ready, idle, and owes no answer."""
        owed, ready, synced = 0, b"T", True
        while True:
            for message in messages:
                if message[0] == TERMINATE:
                    raise ConnectionResetError
                link.socket.sendall(message)
                owed += message[0] in ANSWERED
                synced = message[0] in ANSWERED
            messages = []
            if owed == 0 and synced and ready == b"I":
                return
            readable, _, _ = select.select([client.socket, link.socket], [], [])
            if link.socket in readable:
                for message in link.read():
                    client.socket.sendall(message)
                    if message[0] == READY:
                        owed, ready = owed - 1, message[5:]
            elif client.socket in readable:
                messages = list(client.read())

    def _take(self, startup: bytes) -> Link:
        with self._changed:
            if self._made < self._size:
                self._made += 1
                return Link(self._target, startup)
            assert self._changed.wait_for(lambda: self._idle, timeout=10), "all are lent"
            return self._idle.popleft()

    def _give(self, link: Link) -> None:
        with self._changed:
            self._idle.append(link)
            self._changed.notify()

    def _lose(self, link: Link) -> None:
        """A client went away inside of a transaction: its connection is not for others."""
        link.socket.close()
        with self._changed:
            self._made -= 1
            self._changed.notify()


def _startup(client: socket.socket) -> bytes:
    """The client's startup packet, after it has heard that there is no encryption."""
    while True:
        head = _exactly(client, 8)
        length, code = struct.unpack("!II", head)
        if code not in {SSL, GSS}:
            return head + _exactly(client, length - 8)
        client.sendall(b"N")


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data
