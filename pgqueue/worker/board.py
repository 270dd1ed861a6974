"""Memory that a worker shares with its supervisor: what had started, should the worker die.

A file without a name, mapped by both. The worker writes the ids of the jobs whose handlers run,
and of those that ended last; the supervisor reads them when the process is gone, and writes when
the last heartbeat was confirmed. Each field is one aligned 64-bit word with one writer.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from itertools import count
from typing import Final

READY: Final = 0
PROGRESS: Final = 1
WORKER: Final = 2
BEAT: Final = 3
BURIED: Final = 4
FENCED: Final = 5
RETIRING: Final = 7
SLOTS: Final = 8
"""Words before the slots."""

ENDED: Final = 8192
"""Words for jobs that ended last: more than a worker ever holds without having recorded them."""

_WORD: Final = 8


class Board:
    """One worker's page.

    Args:
        slots: how many handlers can run at the same time.
        fd: an open file of the right size; None makes one.
    """

    def __init__(self, slots: int, fd: int | None = None) -> None:
        self._ended = SLOTS + slots
        size = (self._ended + ENDED) * _WORD
        self.fd = _nameless_file(size) if fd is None else fd
        self._memory = mmap.mmap(self.fd, size)
        self._words = memoryview(self._memory).cast("q")
        self._free = list(range(SLOTS, self._ended))
        self._ends = count()

    def started(self, job_id: int, *, apart: bool = False) -> int:
        """Note that a job's handler starts; the slot to give back when it ends.

        `apart`: in a process of its own, so that it cannot be what this one dies of.
        """
        slot = self._free.pop()
        self._words[slot] = -job_id if apart else job_id
        return slot

    def ended(self, slot: int) -> None:
        """Note that the handler in this slot is done; what it did may not be recorded yet."""
        words = self._words
        words[self._ended + next(self._ends) % ENDED] = words[slot]
        words[slot] = 0
        self._free.append(slot)

    def running(self) -> list[int]:
        """The ids of jobs whose handlers run, or ran when the process died."""
        return sorted(word for word in self._words[SLOTS : self._ended] if word > 0)

    def apart(self) -> list[int]:
        """As `running`, of those in processes of their own."""
        return sorted(-word for word in self._words[SLOTS : self._ended] if word < 0)

    def busy(self) -> bool:
        """Whether any handler runs, here or apart."""
        return any(self._words[SLOTS : self._ended])

    def ended_last(self) -> list[int]:
        """The ids of jobs whose handlers were done; of most of them, the table knows."""
        return sorted({abs(word) for word in self._words[self._ended :] if word})

    def get(self, field: int) -> int:
        """One of the fields above."""
        return self._words[field]

    def put(self, field: int, value: int) -> None:
        """Write one of the fields above; each has one writer."""
        self._words[field] = value

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._memory.close()
        os.close(self.fd)


def _nameless_file(size: int) -> int:
    with tempfile.TemporaryFile(prefix="pgqueue-board-") as file:
        file.truncate(size)
        return os.dup(file.fileno())
