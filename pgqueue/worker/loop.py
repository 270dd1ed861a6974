"""The only loop: it calls a part's step(), and waits as long as the step said."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from pgqueue import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Source(Protocol):
    """Something else that a loop waits for, such as a listener."""

    def descriptor(self) -> int | None:
        """What becomes readable when there is something to hear; None to wait for nothing."""

    def hear(self) -> None:
        """Hear it; called by the loop's thread."""


class Wake:
    """A signal to look again; setting it twice is setting it once.

    Safe from any thread and from a signal handler. Beside it a loop can wait for sockets.

    Attributes:
        source: heard at every wait; None for none.
    """

    def __init__(self) -> None:
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)
        for end in (self._ear, self._mouth):
            # Not at exit: threads that end with the process may still send or wait.
            weakref.finalize(self, os.close, end).atexit = False
        self._up = False
        self.source: Source | None = None

    def __call__(self) -> None:
        """Send the signal."""
        if not self._up:
            self._up = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._mouth, b"!")

    def wait(self, seconds: float, sockets: Sequence[tuple[int, int]] = ()) -> None:
        """Wait for the signal, for one of the sockets, or so long; then the signal is down."""
        awaited = [(self._ear, select.POLLIN), *sockets]
        source = self.source
        descriptor = source.descriptor() if source is not None else None
        if descriptor is not None:
            awaited.append((descriptor, select.POLLIN))
        ready = wire.wait_for(awaited, 0.0 if self._up else seconds)
        if self._up or self._ear in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._ear, 16)
        if source is not None and descriptor in ready:
            # Whoever hears signals us, who are awake: that needs no byte (20 us from a commit to
            # its handler).
            self._up = True
            source.hear()
        # After the byte was taken: a signal in between would be lost with it.
        self._up = False


def run(step: Callable[[], float | None], wake: Wake) -> None:
    """Call `step` for ever, waiting between as many seconds as it returns; None ends the loop."""
    while (pause := step()) is not None:
        wake.wait(pause)


def start(
    name: str,
    step: Callable[[], float | None],
    wake: Wake,
    failed: Callable[[BaseException], None],
) -> threading.Thread:
    """Run the loop on a thread of its own, which does not keep the process alive.

    Args:
        name: of the thread.
        step: called again and again.
        wake: ends a wait.
        failed: told, on that thread, of the error that ended the loop: nobody else would see it.
    """
    thread = threading.Thread(
        target=guard, args=(lambda: run(step, wake), failed), name=f"pgqueue-{name}", daemon=True
    )
    thread.start()
    return thread


def guard(body: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
    """Call what a thread is for, and tell of the error that ends it."""
    try:
        body()
    except BaseException as error:  # noqa: BLE001 - whoever waits for this thread would hang
        failed(error)
