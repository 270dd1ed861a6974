"""Writes what handlers said of their progress: for all jobs of this worker in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store

if TYPE_CHECKING:
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.worker.reports import Reports

NAME: Final = "progress"
EVERY: Final = 1.0
"""Seconds between two writes about the same job; its last word goes with its outcome."""


class WriteProgress:
    """A step for the maintenance loop.

    Args:
        settings: limits of time.
        reports: what was said.
    """

    def __init__(self, settings: Settings, reports: Reports) -> None:
        self._settings, self._reports = settings, reports

    def __call__(self, connection: Connection) -> float:
        """Write what is new, in every worker for its own jobs."""
        said = self._reports.unwritten()
        for start in range(0, len(said), store.BATCH):
            part = said[start : start + store.BATCH]
            values = {"reports": store.reports_document(part)}
            store.run(connection, self._settings, "progress", values)
            self._reports.written(part)
        return EVERY
