"""Jobs that ended badly, grouped by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgqueue.job import State
    from pgqueue.views.counts import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGroup:
    """Jobs that ended badly for the same cause.

    Attributes:
        fingerprint: of the error; None where nothing is recorded: a job that expired unstarted, or
            was cancelled before it ran.
        jobs: how many, among those looked at.
        message: of the newest one, cut at 200 characters.
        first_at: when the first of them ended.
        last_at: when the last of them ended.
        ids: the newest three.
    """

    state: State
    fingerprint: str | None
    queue: str
    task: str
    error_type: str | None
    jobs: Count
    message: str | None
    first_at: datetime | None
    last_at: datetime | None
    ids: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGroups:
    """Groups, largest first.

    Attributes:
        sampled: how many jobs were looked at: those that match, or the newest 10,000 of them.
    """

    groups: Sequence[JobGroup]
    sampled: Count
