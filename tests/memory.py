"""A memory cgroup in which a process runs out of memory, where this machine lets us make one.

Whether it does is decided here alone, and said in the header of the test run. Without one, a job
that is to run out of memory kills its process by SIGKILL instead: what the kernel would do.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/sys/fs/cgroup")
LIMITS = ("memory.limit_in_bytes", "memory.max")
"""Of version 1, and of version 2."""


@functools.cache
def parent() -> Path | None:
    """The group in which we can make groups with a limit; None where we cannot."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in {"memory", ""}:
                mount = ROOT / "memory" if controllers else ROOT
                for folder in (mount / path.lstrip("/"), mount):
                    if _works(folder):
                        return folder
    return None


def _works(folder: Path) -> bool:
    try:
        with _group(folder, 1 << 30):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _group(folder: Path, limit: int) -> Iterator[Path]:
    made = folder / f"pgqueue-test-{os.getpid()}-{secrets.token_hex(4)}"
    made.mkdir()
    try:
        name = next((name for name in LIMITS if (made / name).exists()), None)
        if name is None:
            raise OSError(f"{made} limits no memory")
        (made / name).write_text(str(limit))
        yield made
    finally:
        wait_until(functools.partial(_gone, made), what=f"the processes of {made} ended")


def _gone(made: Path) -> bool:
    try:
        made.rmdir()
    except OSError:  # its last processes have not ended yet
        return False
    return True


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """The file by which a process enters a group that lives as long as the block, or None."""
    if (folder := parent()) is None:
        yield None
        return
    with _group(folder, limit) as made:
        yield made / "cgroup.procs"


def describe() -> str:
    """For the header of the test run."""
    if (folder := parent()) is None:
        return "no memory cgroup can be made: out of memory is played by SIGKILL"
    return f"out of memory happens in cgroups below {folder}"
