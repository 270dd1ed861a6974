"""The demo's workers: what `pgqueue worker` runs, in a process that ends with the demo.

As a program (`python -m pgqueue.demo.workers`) it is that process: a line of JSON on standard
input says what to do, and the end of the input is the order to stop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgqueue.demo.app import QUEUE, app
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PATIENCE: Final = 30.0
"""Seconds for the workers to stop: the shutdown timeout, and room for a slow machine."""


class Workers:
    """A supervisor and its workers, as a context manager.

    Args:
        dsn: their database.
        processes: how many workers.
        log: a file that takes what they log.
    """

    def __init__(self, dsn: str, processes: int, log: Path) -> None:
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pgqueue.demo.workers"],
                stdin=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,  # a terminal's Ctrl-C is for the demo, which stops them
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        assert self._process.stdin is not None  # noqa: S101 - PIPE
        self._process.stdin.write(json.dumps([dsn, processes]).encode() + b"\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop them, and wait until they have; the supervisor's exit code."""
        assert self._process.stdin is not None  # noqa: S101 - PIPE
        self._process.stdin.close()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def check(self) -> None:
        """Make sure that the supervisor still runs.

        Raises:
            PgQueueError: it ended; with the last lines of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise PgQueueError(f"the workers ended with exit code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of their log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-20:])

    def owns(self, pid: int) -> bool:
        """Whether a process is one of these workers: a process id in a table proves nothing."""
        return _parent(pid) == self._process.pid


def _parent(pid: int) -> int | None:
    """The process id of a process's parent; None when there is no such process."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return int(fields.rpartition(")")[2].split()[1])
    if Path("/proc/self").exists():
        return None
    asked = ["/bin/ps", "-o", "ppid=", "-p", str(pid)]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    return int(said.stdout) if said.stdout.strip() else None


def main() -> int:
    """Run the workers until standard input ends; the supervisor's exit code."""
    from pgqueue.worker import supervisor  # noqa: PLC0415 - the demo itself does not need it

    # Unbuffered: a thread that waits in a buffered read would block the interpreter's end.
    orders = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - until the end
    dsn, processes = json.loads(orders.readline())
    threading.Thread(target=_stop_at_end, args=(orders.fileno(),), daemon=True).start()
    return supervisor.run(
        app="pgqueue.demo.app:app",
        app_dir=str(Path(__file__).parents[2]),
        dsn=dsn,
        queues=[QUEUE],
        settings=app.settings,
        processes=processes,
        log_level=logging.INFO,
    )


def _stop_at_end(orders: int) -> None:
    while os.read(orders, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
