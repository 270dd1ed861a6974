"""pgqueue with a plain `def`, run in threads; else as `pgqueue.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.app import thread_nothing
from benchmarks.peers.programs.pgqueue import install, produce, worker

if TYPE_CHECKING:
    from benchmarks.peers.programs.shared import Enqueued

__all__ = ["enqueue", "install", "worker"]


def enqueue(one: int, many: int) -> Enqueued:
    return produce(thread_nothing, one, many)
