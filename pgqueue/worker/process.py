"""The program that a supervisor starts: one worker in a process of its own.

Run as `python -m pgqueue.worker.process`. The first line of standard input is the order, as JSON;
when standard input ends, the supervisor is gone and so is this process, with all that it started.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pgqueue.config import Settings
from pgqueue.discovery import load_app
from pgqueue.errors import ConfigError, ConnectionFailed, PgQueueError, SchemaError
from pgqueue.telemetry import fields, wording
from pgqueue.telemetry.events import Events
from pgqueue.worker.board import Board
from pgqueue.worker.lifeline import take_stdin
from pgqueue.worker.messages import Source
from pgqueue.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from pgqueue.telemetry.lines import Form

EXIT_CODES: Final[dict[type[PgQueueError], int]] = {
    ConfigError: 2,
    ConnectionFailed: 3,
    SchemaError: 4,
}
WORKER: Final = 200
SUSPECT: Final = 100
"""Thousandths of all memory by which a process seems larger to the kernel when that runs out. While
the largest dies, the kernel may take a second: rather one of many jobs than a suspect alone, which
would be blamed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor tells a worker's process; it never stands on a command line."""

    app: str
    dsn: str
    queues: list[str]
    settings: dict[str, Any]
    board: int
    log_level: int
    log_format: Form
    app_dir: str
    cell: bool = False

    def line(self) -> bytes:
        """This order as the line to send."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields).encode() + b"\n"


class News:
    """What the supervisor tells besides the order, and who hears it.

    Attributes:
        dead: takes the ids of jobs that it found dead, of which an app may have hooks.
    """

    dead: Callable[[list[int]], None] = staticmethod(lambda _ids: None)


def main() -> int:
    """Run one worker; the exit code."""
    lifeline = take_stdin()
    order = Order(**json.loads(lifeline.readline()))
    news = News()
    watch = threading.Thread(
        target=_watch, args=(lifeline, news), name="pgqueue-lifeline", daemon=True
    )
    watch.start()
    wording.to_stderr(order.log_level, order.log_format)
    _volunteer(SUSPECT if order.cell else WORKER)
    try:
        return _work(order, news)
    except PgQueueError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a program
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def _work(order: Order, news: News) -> int:
    settings = Settings(**order.settings)
    app, _ = load_app(order.app, cwd=Path(order.app_dir), environ=os.environ)
    fields.cover_handlers()  # those that the app's modules have made
    board = Board(settings.slots, order.board)
    _tune_garbage_collection()
    worker = Worker(
        app,
        dsn=order.dsn,
        settings=settings,
        queues=order.queues,
        emit=Events(wording.write),
        board=board,
        cell=order.cell,
        source=Source(order.app, order.app_dir, order.log_level, order.log_format),
    )

    def dead(ids: list[int]) -> None:
        if worker.hooks is not None:
            worker.hooks.ended(ids)

    news.dead = dead

    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return worker.run()


def _volunteer(amount: int) -> None:
    """Be killed before the supervisor when memory runs out: without it nobody could tell why."""
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):  # Linux only; a sandbox may forbid it
        score.write_text(str(min(int(score.read_text()) + amount, 1000)))


def _tune_garbage_collection() -> None:
    """Collect less often: jobs come and go by the thousand, and leave no cycles.

    What the app has loaded stays for good. With the defaults the collector took 2 to 3 of 13
    microseconds of each job.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _watch(lifeline: Any, news: News) -> None:
    """Hear the supervisor's news, and end our whole process group with it.

    What handlers started is in that group.

    PR_SET_PDEATHSIG would end this process alone, and leave nobody to end the others.
    """
    while line := lifeline.readline():
        with contextlib.suppress(Exception):  # whatever was said, somebody must watch
            news.dead(json.loads(line))
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Handlers in threads cannot be ended, and must not keep the process alive: their jobs are
    # given back already.
    os._exit(code)
