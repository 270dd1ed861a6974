"""What processes have cost so far, read from /proc; on other systems None."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PPID, _TIMES = 1, slice(11, 15)  # of the fields of /proc/PID/stat that follow the name


def cpu_seconds(root: int, *, without: int | None = None) -> float | None:
    """CPU of a process and all that descend from it, those that have ended included.

    Args:
        root: a process id.
        without: a living descendant to leave out.
    """
    stats = _stats()
    if root not in stats:
        return None
    family = _family(root, stats)
    ticks = sum(sum(stats[pid][_TIMES]) for pid in family if pid != without)
    return ticks / os.sysconf("SC_CLK_TCK")


def children(root: int) -> list[int]:
    """The processes that a process has started and that live."""
    return [pid for pid, fields in _stats().items() if fields[_PPID] == root]


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def server_pid(backend: int) -> int | None:
    """The parent of a server process, when that runs on this machine."""
    stats = _stats()
    with contextlib.suppress(OSError):
        if backend in stats and b"postgres" in Path(f"/proc/{backend}/cmdline").read_bytes():
            return stats[backend][_PPID]
    return None


def _family(root: int, stats: dict[int, list[int]]) -> set[int]:
    family = {root}
    while more := {pid for pid, fields in stats.items() if fields[_PPID] in family} - family:
        family |= more
    return family


def _stats() -> dict[int, list[int]]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = path.read_text("utf-8", "replace").rsplit(")", 1)[1].split()
            found[int(path.parent.name)] = [0, *map(int, fields[1:])]
    return found
