"""When handlers started: numbered jobs stamp the machine's monotonic clock into a file."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "PGQUEUE_BENCH_STAMPS"
"""Names the file to the processes that stamp."""
_RECORD: Final = struct.Struct("=qq")
_open: list[int] = []


def stamp(number: int) -> None:
    """Say that the job with this number starts now."""
    now = time.monotonic_ns()
    if not _open:
        _open.append(os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND))
    os.write(_open[0], _RECORD.pack(number, now))


class Stamps:
    """The file, for who reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        """How many jobs have started."""
        return self.path.stat().st_size // _RECORD.size

    def read(self) -> dict[int, int]:
        """When each job started first, in monotonic nanoseconds."""
        found: dict[int, int] = {}
        for number, at in _RECORD.iter_unpack(self.path.read_bytes()):
            found.setdefault(number, at)
        return found

    def last(self) -> dict[int, int]:
        """When each job started last, in monotonic nanoseconds."""
        return dict(_RECORD.iter_unpack(self.path.read_bytes()))


@contextlib.contextmanager
def file() -> Iterator[Stamps]:
    """An empty file of stamps; its path goes to the processes in VARIABLE."""
    with tempfile.NamedTemporaryFile(prefix="pgqueue-stamps-") as opened:
        yield Stamps(Path(opened.name))
