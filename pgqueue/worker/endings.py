"""Reads what became of jobs that ended without a handler, for the hooks that are told of them."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue import store
from pgqueue.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.worker.link import Link


class Endings:
    """Reads rows over a connection that is open only meanwhile: such jobs are few.

    Args:
        link: the connection.
        settings: limits of time.
        leaving: whether the worker ends; then it is not tried again.
    """

    def __init__(self, link: Link, settings: Settings, leaving: Callable[[], bool]) -> None:
        self._link, self._settings, self._leaving = link, settings, leaving

    def __call__(self, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        """The rows of `ended_jobs.sql`; waits while the database is away.

        Raises:
            psycopg.Error, ConnectionFailed: it is away, and the worker ends.
        """
        with closing(self._link):
            while True:
                try:
                    return self._rows(ids)
                except (psycopg.Error, ConnectionFailed) as error:
                    if self._leaving():
                        raise
                    time.sleep(self._link.failed(error))

    def _rows(self, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        values = {"ids": list(ids)}
        rows = store.run(self._link.connection(), self._settings, "ended_jobs", values)
        self._link.worked()
        return rows
