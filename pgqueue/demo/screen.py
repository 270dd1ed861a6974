"""What the demo prints: one line that changes on a terminal, plain lines in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_TERMINAL_EVERY: Final = 0.1
_PIPE_EVERY: Final = 2.0


class Screen:
    """Prints lines with the seconds since the start, and a progress line below them.

    Args:
        out: where to; standard output by default.
        quiet: print nothing but `show`.
    """

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._out = out or sys.stdout
        self._quiet = quiet
        self._updates = self._out.isatty()
        self._every = _TERMINAL_EVERY if self._updates else _PIPE_EVERY
        self._start = time.monotonic()
        self._next = 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def due(self) -> bool:
        """Whether it is time for a line of progress."""
        return not self._quiet and time.monotonic() >= self._next

    def progress(self, text: str) -> None:
        """Say how far it is; the next such line takes its place on a terminal."""
        self._next = time.monotonic() + self._every
        if not self._updates:
            self.say(text)
        else:
            room = shutil.get_terminal_size().columns - 1
            self._put(f"{self._timed(text)[:room]}\r")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if not self._quiet:
            self._put(f"{self._timed(text)}\n")

    def show(self, text: str = "", end: str = "\n") -> None:
        """Print text as it is, in every mode."""
        self._put(f"{text}{end}")

    def _timed(self, text: str) -> str:
        return f"{self.seconds:6.1f} s  {text}"

    def _put(self, text: str) -> None:
        clear = "\x1b[K" if self._updates and not self._quiet else ""
        self._out.write(clear + text)
        self._out.flush()
