"""Queues and workers at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pgqueue.views.counts import Count
    from pgqueue.views.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """A queue at one moment.

    Attributes:
        ready: due jobs that no worker has taken.
        waiting: jobs whose time has not come, retries too.
        oldest_due: seconds for which the oldest due job has been due; None without one.
        ended: dead, cancelled and expired jobs, among the newest 10,000 of all queues.
        max_depth: how many due jobs may wait before it takes no more; None without a limit.
        is_full: whether producers are refused.
    """

    queue: str
    ready: Count
    waiting: Count
    running: Count
    oldest_due: float | None
    ended: Mapping[str, Count]
    max_depth: int | None = None
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """A queue's limit, and the last count of its due jobs.

    Attributes:
        max_depth: None for no limit.
        depth: counted up to one more than the limit of that time.
        is_full: whether producers are refused.
        counted_ago: seconds since it was counted; None when it never was.
    """

    queue: str
    max_depth: int | None
    depth: int
    is_full: bool
    counted_ago: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker's row.

    Attributes:
        heartbeat_age: seconds since its last heartbeat.
        alive: the heartbeat is younger than its time-to-live.
        running: jobs that the table says it runs.
    """

    id: int
    name: str
    hostname: str
    pid: int
    version: str
    queues: Sequence[str]
    concurrency: int
    threads: int
    children: int
    started_at: datetime
    heartbeat_age: float
    alive: bool
    running: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Queues and workers at one moment."""

    queues: Sequence[QueueStatus]
    workers: Sequence[WorkerView]
    upkeep: Upkeep
