"""Rescue: takes jobs from workers that are dead, and blames the job that killed one.

A worker is dead when its supervisor saw it die, or when its heartbeat is too old. By age only
somebody may bury whose own heartbeats have succeeded for a full time-to-live without a gap: after
an outage of the database everybody looks dead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

EVERY: Final = 3.0
"""Seconds between two looks for workers whose heartbeat is too old."""


def bury(
    connection: Connection,
    settings: Settings,
    worker_id: int,
    emit: Events,
    *,
    started: Sequence[int] | None = None,
    intended: bool = False,
) -> int:
    """Declare a worker dead and take its jobs.

    Safe to repeat, and to do twice at once: the second finds nothing.

    Args:
        connection: in autocommit mode.
        settings: gives the crash cap and the limits of time.
        worker_id: the worker.
        emit: takes JobsRescued.
        started: the jobs that had started there, when somebody saw it die; None when nobody did,
            and then the worker is spared if its heartbeat is not too old after all.
        intended: it was killed on purpose, so that no job is to blame.

    Returns:
        How many jobs were taken.
    """
    values: dict[str, Any] = {
        "worker_id": worker_id,
        "worker": None,
        "started": list(started) if started is not None else None,
        "culprit": None,
        "intended": intended,
        "crash_cap": settings.crash_cap,
    }
    with connection.transaction():
        # One commit for the burial and the first batch: who is to blame is known only here.
        seen = {"worker_id": worker_id, "seen": started is not None}
        buried = store.run(connection, settings, "bury", seen)
        if not buried and _lives(connection, settings, worker_id):
            return 0
        for name, suspect_id in buried:
            culprit = None if intended else _culprit(suspect_id, started)
            values |= {"worker": name, "culprit": culprit}
        taken = batch = store.run(connection, settings, "rescue", values)
    while batch:
        batch = store.run(connection, settings, "rescue", values)
        taken += batch
    if taken:
        dead = tuple(id_ for id_, state, _ in taken if state == "dead")
        emit(events.JobsRescued(worker_id, values["worker"], len(taken), dead))
    return len(taken)


def _culprit(suspect_id: int | None, started: Sequence[int] | None) -> int | None:
    """Who is to blame: the suspect that ran, else the only job that ran; else nobody is."""
    if suspect_id is not None and (started is None or suspect_id in started):
        return suspect_id
    return started[0] if started is not None and len(started) == 1 else None


def _lives(connection: Connection, settings: Settings, worker_id: int) -> bool:
    [(exists,)] = store.run(connection, settings, "worker_exists", {"worker_id": worker_id})
    return bool(exists)


class Rescue:
    """A step: buries workers whose heartbeat is too old.

    Args:
        settings: limits of time.
        emit: takes events.
        trusted_since: monotonic seconds since when our own heartbeats succeed without a gap;
            None when the last one failed.
    """

    def __init__(
        self, settings: Settings, emit: Events, trusted_since: Callable[[], float | None]
    ) -> None:
        self._settings, self._emit, self._trusted_since = settings, emit, trusted_since

    def __call__(self, connection: Connection) -> float:
        """Bury who is dead, if we can tell."""
        since = self._trusted_since()
        if since is None or time.monotonic() - since < self._settings.ttl:
            return EVERY
        for (worker_id,) in store.run(connection, self._settings, "silent_workers"):
            bury(connection, self._settings, worker_id, self._emit)
        return EVERY
