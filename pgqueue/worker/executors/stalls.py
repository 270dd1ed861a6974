"""Names the handler that blocks the event loop, while it still does.

A thread asks the loop for an answer twice in each threshold, as long as handlers run. When none
comes for longer than that, the task that the loop runs now is the one: the hot path does nothing
for this.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgqueue.telemetry.events import LoopBlocked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.telemetry.events import Events
    from pgqueue.worker.parts import Attempt

_ASYNCIO = str(Path(asyncio.__file__).parent)


class StallWatch:
    """Watches one event loop.

    Args:
        loop: which.
        thread: the thread it runs on.
        running: the attempts that run there, with their tasks; only read.
        threshold: seconds without an answer.
        emit: takes events.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread,
        running: Mapping[Attempt, asyncio.Task[None]],
        threshold: float,
        emit: Events,
    ) -> None:
        self._loop, self._loop_thread, self._running = loop, thread, running
        self._threshold, self._emit = threshold, emit
        self._asked_at: float | None = None
        self._answered = self._told = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgqueue-stalls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; before the loop is closed."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._threshold / 2):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        if self._asked_at is not None and self._answered:
            self._asked_at = None
        if self._asked_at is None:
            if self._running:
                self._asked_at, self._answered, self._told = now, False, False
                self._loop.call_soon_threadsafe(self._answer)
        elif now - self._asked_at >= self._threshold and not self._told:
            self._told = self._tell(now - self._asked_at)

    def _answer(self) -> None:
        self._answered = True

    def _tell(self, seconds: float) -> bool:
        """Tell who it is; False while no task runs: then the loop only waits for the processor."""
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread.ident or 0)  # noqa: SLF001 - no other
        if task is None or frame is None or self._answered:
            return False
        of = (attempt for attempt, its in list(self._running.items()) if its is task)
        attempt = next(of, None)
        # A task that a handler has started has no attempt of its own: its name must do.
        name = attempt.job.task if attempt else task.get_name()
        job_id = attempt.job.id if attempt else None
        self._emit(LoopBlocked(job_id, name, seconds, _where(frame)))
        return True


def _where(frame: Any) -> str:
    """Where a handler stands: its own line, and the innermost one when that is another."""
    walked = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    own = list(walked)
    for number, each in enumerate(walked):
        if each.filename == _EXECUTOR or each.filename.startswith(_ASYNCIO):
            own = walked[:number] or own
            break
    lines = [f"{each.filename}:{each.lineno} in {each.name}" for each in (own[-1], own[0])]
    return " > ".join(dict.fromkeys(lines))


_EXECUTOR = str(Path(__file__).with_name("event_loop.py"))
