"""What a process uses, and what it has started, as the system tells."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PROC: Final = Path("/proc/self/statm").exists()
CHEAP: Final = _PROC
"""Whether looking costs microseconds; without /proc a look starts `ps`, and takes milliseconds."""


def resident(pid: int) -> float:
    """The MiB of memory that a process has in use now; 0 when it is gone."""
    try:
        if _PROC:
            return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE / MIB
        shown = subprocess.run(  # noqa: S603 - nothing but a number is added
            ["ps", "-o", "rss=", "-p", str(pid)],  # noqa: S607 - where the system has it
            capture_output=True,
            check=False,
            timeout=5,
        )
        return int(shown.stdout or 0) / 1024
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return 0.0


def kill_tree(pid: int, number: int) -> None:
    """Send a signal to a process and all that it started, as far as the system tells those.

    Only where /proc lists children: elsewhere they end with the worker, whose group they are in.
    """
    for each in [pid, *_descendants(pid)]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, number)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found
