"""A server's socket with a fault in it: it can cut a connection around a COMMIT, or a claim."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg import conninfo

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Cut = Literal["before", "after"]

READY = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery, outside of a transaction: what came before is committed."""
PREPARED = b"Z\x00\x00\x00\x05T"
"""As above, inside of one: a driver had a COMMIT parsed, and will now have it executed."""


class Proxy:
    """Passes bytes on, both ways.

    `cut` arms it: the next connection that sends a COMMIT (or what `marker` says) is cut "before"
    the server gets it, or "after" the server has answered and before the client hears of it; then
    not before `released`. Only connections that say `role` at their start count. With `hold` they
    are all cut, and none before `released`; `held` says how many wait there.
    """

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            host, port = connection.info.host, connection.info.port
        self._target: str | tuple[str, int] = (
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        )
        self._folder = tempfile.TemporaryDirectory(prefix="pgq-proxy-")
        path = Path(self._folder.name, ".s.PGSQL.5432")
        self.dsn = conninfo.make_conninfo(dsn, host=self._folder.name, port=5432)
        self.cut: Cut | None = None
        self.hold: Cut | None = None
        self.held, self._counting = 0, threading.Lock()
        self.marker, self.role = b"COMMIT", b"pgqueue:"
        self.released = threading.Event()
        self.released.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._sockets: list[socket.socket] = []
        self._deaf: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in [self._listener, *self._sockets]:
            _close(each)
        self._folder.cleanup()

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        for each in self._sockets:
            _close(each)

    def deafen(self) -> None:
        """Pass on nothing more of the connections that are open now, without a word."""
        self._deaf.update(self._sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
                server = socket.socket(family)
                server.connect(self._target)
                self._sockets += [client, server]
                doomed = threading.Event()
                for args in ((client, server, doomed, True), (server, client, doomed, False)):
                    threading.Thread(target=self._pass_on, args=args, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, doomed: threading.Event, up: bool
    ) -> None:
        """Copy one direction until it ends, or until the cut that was asked for."""
        counts = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._deaf:
                    continue
                counts = counts or self.role in data
                wanted = self.hold or self.cut
                if up and counts and wanted is not None and self._is_marked(data):
                    self.cut = None
                    if wanted == "before":
                        self._wait()
                        break
                    doomed.set()
                elif not up and doomed.is_set():
                    # The server answers, and nobody will hear of it; cut before its end, the
                    # server would roll back.
                    while not _is_whole(data) and (more := source.recv(65536)):
                        data += more
                    if not data.endswith(PREPARED):
                        self._wait()
                        break
                target.sendall(data)
        _close(source)
        _close(target)

    def _is_marked(self, data: bytes) -> bool:
        # Some drivers write it in small letters; and an isolation level is no COMMIT.
        data = data.replace(b"READ COMMITTED", b"")
        return self.marker in data or self.marker in data.upper()

    def _wait(self) -> None:
        with self._counting:
            self.held += 1
        self.released.wait(30)


def _is_whole(answer: bytes) -> bool:
    return READY in answer or answer.endswith(PREPARED)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
