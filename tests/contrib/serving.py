"""Real servers on loopback: in a thread of the test, or as the processes that a user starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Program:
    """A process of a user's command line; killed at the end, with its whole group."""

    def __init__(
        self, command: list[str], *, cwd: Path, environ: Mapping[str, str], fds: tuple[int, ...]
    ) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=environ_of(environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=fds,
            start_new_session=True,
        )

    def said(self) -> str:
        """What it has printed so far."""
        self._log.seek(0)
        return self._log.read()

    def terminate(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        self._log.close()


@contextmanager
def program(
    *command: str, cwd: Path, environ: Mapping[str, str], fds: tuple[int, ...] = ()
) -> Iterator[Program]:
    """Run `python -m COMMAND` in a folder; what it said is shown when the block fails."""
    running = Program(list(command), cwd=cwd, environ=environ, fds=fds)
    try:
        yield running
    except BaseException:
        sys.stderr.write(running.said())
        raise
    finally:
        running.close()


def environ_of(named: Mapping[str, str]) -> dict[str, str]:
    """An environment with these, and without what would tell of another database or app."""
    others = ("PGQUEUE_", "DATABASE_URL", "PGHOST", "PGDATABASE", "FLASK_", "SQLALCHEMY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "PYTHONUNBUFFERED": "1", **named}


def listening() -> socket.socket:
    """A socket that listens on a free port: a request waits there until a server takes it."""
    return socket.create_server(("127.0.0.1", 0))


def client_of(sock: socket.socket) -> httpx.Client:
    """A client of whoever serves on that socket; it ignores proxies of the environment.

    It connects anew for each request: uvicorn closes the connection of one that failed.
    """
    host, port = sock.getsockname()[:2]
    return httpx.Client(
        base_url=f"http://{host}:{port}",
        timeout=20,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@contextmanager
def served(api: Any) -> Iterator[httpx.Client]:
    """An ASGI application behind uvicorn on a thread of this process, and a client of it."""
    config = uvicorn.Config(api, log_level="critical", lifespan="on", loop="asyncio")
    server = uvicorn.Server(config)
    with listening() as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            wait_until(
                lambda: server.started or not thread.is_alive(), 20, "the server has started"
            )
            with client_of(sock) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"
