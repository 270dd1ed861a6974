"""A worker's process as its supervisor holds it: started, watched, told of things, and ended."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Final

from pgqueue.worker import board as words
from pgqueue.worker.board import Board

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.worker.process import Order

STALLED: Final = 60.0
"""Seconds without progress of a worker's engine after which it gets no more heartbeats."""
HOPELESS: Final = 120.0
"""Seconds after which it is killed and replaced: others have its jobs by then."""
FROZEN: Final = 5.0
"""Seconds without a look at it after which whoever looks was frozen, and it perhaps too."""


class Spawned:
    """One worker's process, and what its supervisor shares with it; made, it is started.

    Args:
        order: what the process is told; the board's descriptor is added.
        slots: of the board: handlers that may run at the same time.

    Attributes:
        told: the signal that told it to end; None so far.
    """

    def __init__(self, order: Order, slots: int) -> None:
        self.board = Board(slots)
        self.born = time.monotonic()
        self.cell = order.cell
        self._watched_at = self.born
        self.progress, self.progress_at = -1, self.born
        self.replaced = self.given_up = False
        self.told: signal.Signals | None = None
        self.process = Popen(
            [sys.executable, "-m", "pgqueue.worker.process"],
            stdin=PIPE,
            pass_fds=[self.board.fd],
            start_new_session=True,
        )
        assert self.process.stdin is not None  # noqa: S101 - PIPE
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(dataclasses.replace(order, board=self.board.fd).line())
            self.process.stdin.flush()

    @property
    def worker_id(self) -> int:
        """The worker's row; 0 before it is registered and after it left."""
        return self.board.get(words.WORKER)

    @property
    def listens(self) -> bool:
        """Whether it takes news: a cell may be gone in a moment."""
        return bool(self.board.get(words.READY)) and not self.cell

    def makes_progress(self, now: float) -> bool:
        """Whether its engine has moved lately."""
        return self._still(now) < STALLED

    def give_up(self, now: float) -> None:
        """Kill it if its engine has not moved for so long; to be called again and again.

        A call that keeps the interpreter's lock hears no signal, and can last for ever.
        """
        if now - self._watched_at > FROZEN:
            self.progress_at = now
        self._watched_at = now
        works = self.worker_id and self.board.get(words.READY)
        if works and not self.given_up and self._still(now) > HOPELESS:
            self.given_up = True
            self.send(signal.SIGKILL)

    def _still(self, now: float) -> float:
        if (progress := self.board.get(words.PROGRESS)) != self.progress:
            self.progress, self.progress_at = progress, now
        return now - self.progress_at

    def send(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def tell_dead(self, ids: Sequence[int]) -> None:
        """Tell it of jobs that are dead, for the app's hooks; never waits for it.

        Raises:
            OSError: it does not listen.
        """
        assert self.process.stdin is not None  # noqa: S101 - PIPE
        fd = self.process.stdin.fileno()
        os.set_blocking(fd, False)
        os.write(fd, json.dumps(list(ids)).encode() + b"\n")

    def kill_group(self) -> None:
        """End what is left of its process group: processes that handlers started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back what we shared."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.board.close()
