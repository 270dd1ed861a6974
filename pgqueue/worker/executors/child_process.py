"""One child process as its worker sees it; nothing here waits for it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import select
import signal
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

from pgqueue.worker import messages
from pgqueue.worker.resources import kill_tree

if TYPE_CHECKING:
    from pgqueue.worker.messages import ChildOrder, Message
    from pgqueue.worker.parts import Attempt, Why

READ: int = 1024 * 1024
"""Bytes to take from the pipe at a time."""


class ChildProcess:
    """A child: starting, idle, running an attempt, or on its way out.

    Args:
        order: what it is told first.

    Attributes:
        attempt: what it runs.
        deadline: monotonic seconds when that is to be asked to end, or the child to be killed.
        ready: whether it has loaded the app.
        ending: whether it was asked to end an attempt; it takes no other then.
        used: whether it was ever given an attempt.
        over: MiB that it had when it was killed for having too many.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(self, order: ChildOrder) -> None:
        self.attempt: Attempt | None = None
        self.deadline = math.inf
        self.ready = self.ending = self.used = False
        self.over: float | None = None
        self._unread = bytearray()
        self._unsent = bytearray()
        self._answers, theirs = os.pipe()
        try:
            self.process = Popen(
                [sys.executable, "-m", "pgqueue.worker.child"],
                stdin=PIPE,
                pass_fds=[theirs],
                bufsize=0,
            )
        except OSError:
            os.close(self._answers)
            raise
        finally:
            os.close(theirs)
        assert self.process.stdin is not None  # noqa: S101 - PIPE
        self._orders = self.process.stdin
        self._exit = _exit_descriptor(self.process.pid)
        for descriptor in (self._answers, self._orders.fileno()):
            os.set_blocking(descriptor, False)
        self._send(dataclasses.replace(order, answers=theirs).line())

    @property
    def idle(self) -> bool:
        """Whether it can take an attempt now."""
        return self.ready and self.attempt is None and not self.ending

    def hand(self, attempt: Attempt, now: float) -> None:
        """Give it an attempt to run; its timeout starts."""
        timeout = attempt.job.timeout
        self.attempt, self.used = attempt, True
        self.deadline = math.inf if timeout is None else now + timeout
        self._send(messages.job_line(attempt.job))

    def ask(self, why: Why, until: float) -> None:
        """Ask for the end of what it runs; the deadline is then that of being killed."""
        self.ending, self.deadline = True, until
        self._send(messages.line({"end": why}))

    def kill(self) -> None:
        """End it, and what it has started."""
        self.ending, self.deadline = True, math.inf
        kill_tree(self.process.pid, signal.SIGKILL)

    def read(self) -> list[Message]:
        """What it has said since the last call."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._answers, READ):
                self._unread += chunk
        *lines, rest = self._unread.split(b"\n")
        self._unread = rest
        try:
            said = [json.loads(line) for line in lines]
        except ValueError:
            said = [None]
        if all(isinstance(message, dict) for message in said):
            return said
        self.kill()  # its handler wrote where it should not: nothing from it can be trusted
        return []

    def flush(self) -> None:
        """Send on what the pipe would not take before."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                del self._unsent[: os.write(self._orders.fileno(), self._unsent)]

    def interest(self) -> list[tuple[int, int]]:
        """The file descriptors on which something may happen, as select.poll takes them."""
        sockets = [(self._answers, select.POLLIN)]
        if self._unsent:
            sockets.append((self._orders.fileno(), select.POLLOUT))
        if self._exit is not None:
            sockets.append((self._exit, select.POLLIN))
        return sockets

    def close(self) -> None:
        """Give back what was open; it must be gone."""
        os.close(self._answers)
        self._orders.close()
        if self._exit is not None:
            os.close(self._exit)

    def _send(self, line: bytes) -> None:
        self._unsent += line
        self.flush()


def _exit_descriptor(pid: int) -> int | None:
    """A file descriptor that is readable when the process has ended; None where there is none."""
    pidfd_open: Any = getattr(os, "pidfd_open", None)
    if pidfd_open is None:
        return None
    try:
        return int(pidfd_open(pid))
    except OSError:
        return None
