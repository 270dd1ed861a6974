"""Real worker processes under a real supervisor, started as a user starts them."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from tests.worker.table import Table

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from pgqueue.cli import main; sys.exit(main())"


class Supervised:
    """`pgqueue worker` with these options; killed, with its workers, at the end."""

    def __init__(
        self, dsn: str, *options: str, app: str = "tests.worker.jobs:app", program: str = PROGRAM
    ) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at our own exit
        command = [sys.executable, "-c", program, "worker", "-A", app, "--dsn", dsn, *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(20)
        if kind is not None:
            sys.stderr.write(self.output())
        self._log.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 20) -> int:
        """Its exit code."""
        return self.process.wait(timeout)

    def output(self) -> str:
        """What it has said so far."""
        self._log.seek(0)
        return self._log.read()


def pids(table: Table) -> dict[int, int]:
    """The registered workers: id -> pid."""
    return dict(table.connection.execute("select id, pid from pgqueue.workers").fetchall())


def wait_for_workers(
    table: Table, count: int = 1, *, other_than: frozenset[int] = frozenset()
) -> dict[int, int]:
    """Wait until so many workers are registered, none of them one of `other_than`."""
    wait_until(
        lambda: len(pids(table).keys() - other_than) == count == len(pids(table)),
        20,
        f"{count} workers registered",
    )
    return pids(table)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
