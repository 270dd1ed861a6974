"""How Dramatiq's workers are started, whatever their broker.

Tuned: one process with its usual 8 threads (2 to 32 made no difference at the usual prefetch), and
a prefetch of 100 messages rather than two a thread. By default Dramatiq starts a process for each
core.
https://dramatiq.io/guide.html (workers)
https://dramatiq.io/reference.html (environment variables; Bogdanp/dramatiq#720)
"""

from __future__ import annotations

import os

from benchmarks.peers.programs.shared import tuned

PREFETCH = "dramatiq_queue_prefetch"


def worker(module: str) -> list[str]:
    """The command that works the actors of a module."""
    command = ["dramatiq", module]
    if not tuned():
        return command
    os.environ[PREFETCH] = "100"
    return [*command, "--processes", "1", "--threads", "8"]
