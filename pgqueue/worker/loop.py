"""The only loop: it calls a part's step(), and waits as long as the step said."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Wake:
    """A signal to look again; setting it twice is setting it once. Safe from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        """Send the signal."""
        if not self._event.is_set():
            self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait for the signal, or so long; then the signal is down."""
        if seconds > 0:
            self._event.wait(seconds)
        self._event.clear()


def run(step: Callable[[], float | None], wake: Wake) -> None:
    """Call `step` for ever, waiting between as many seconds as it returns; None ends the loop."""
    while (pause := step()) is not None:
        wake.wait(pause)


def start(name: str, step: Callable[[], float | None], wake: Wake) -> threading.Thread:
    """Run the loop on a thread of its own, which does not keep the process alive."""
    thread = threading.Thread(target=run, args=(step, wake), name=f"pgqueue-{name}", daemon=True)
    thread.start()
    return thread
