"""Real worker processes under a real supervisor, started as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.worker.table import Table

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from pgqueue.cli import main; sys.exit(main())"


class Supervised:
    """`pgqueue worker` with these options; killed, with its workers, at the end."""

    def __init__(self, dsn: str, *options: str, app: str = "tests.worker.jobs:app") -> None:
        self.log = Path(os.devnull)
        command = [sys.executable, "-c", PROGRAM, "worker", "-A", app, "--dsn", dsn, *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Supervised:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        output = self.process.communicate(timeout=20)
        if kind is not None:
            sys.stderr.write("".join(output))

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 20) -> int:
        """Its exit code."""
        self.stdout, self.stderr = self.process.communicate(timeout=timeout)
        return self.process.returncode


def pids(table: Table) -> dict[int, int]:
    """The registered workers: id -> pid."""
    return dict(table.connection.execute("select id, pid from pgqueue.workers").fetchall())


def wait_for_workers(
    table: Table, count: int = 1, *, other_than: set[int] = frozenset()
) -> dict[int, int]:  # type: ignore[assignment]
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
