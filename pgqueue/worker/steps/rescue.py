"""Rescue: takes jobs from workers that are dead, and blames the job that killed one.

A worker is dead when its supervisor saw it die, or when its heartbeat is too old. By age only
somebody may bury whose own heartbeats have succeeded for a full time-to-live without a gap: after
an outage of the database everybody looks dead.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store
from pgqueue.telemetry import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.telemetry.events import Events

NEVER: Final = math.inf
"""Until it is called again."""


def bury(
    connection: Connection,
    settings: Settings,
    worker_id: int,
    emit: Events,
    *,
    started: Sequence[int] | None = None,
    ended: Sequence[int] = (),
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
        ended: jobs that had ended there; those whose outcome was not recorded are rescued.
        intended: it was killed on purpose, so that no job is to blame.

    Returns:
        How many jobs were taken.
    """
    values: dict[str, Any] = {
        "worker_id": worker_id,
        "worker": None,
        "started": [*started, *ended] if started is not None else None,
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
    """Who is to blame: the only job that ran; unseen, the suspect that ran; else nobody is."""
    if started is None:
        return suspect_id
    return started[0] if len(started) == 1 else None


def _lives(connection: Connection, settings: Settings, worker_id: int) -> bool:
    [(exists,)] = store.run(connection, settings, "worker_exists", {"worker_id": worker_id})
    return bool(exists)


class Rescue:
    """A step: buries workers whose heartbeat is too old, as soon as a beat has seen some.

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
        self._silent: tuple[int, ...] = ()

    def see(self, silent: Sequence[int]) -> bool:
        """Note who is silent; whether there is somebody to bury, and we can tell."""
        since = self._trusted_since()
        trusted = since is not None and time.monotonic() - since >= self._settings.ttl
        self._silent = tuple(silent) if trusted else ()
        return bool(self._silent)

    def __call__(self, connection: Connection) -> float:
        """Bury who was seen; whoever is left over after a failure is seen again."""
        silent, self._silent = self._silent, ()
        for worker_id in silent:
            bury(connection, self._settings, worker_id, self._emit)
        return NEVER
