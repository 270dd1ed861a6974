"""The values that travel: a job to enqueue, a job that was claimed, and the states between.

NewJob is what a producer hands over, ClaimedJob what a worker holds: a job that does not exist
yet has no id, and a job that is held always has a lease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.keys import Changed, FromArgs, OnConflict, Until

State = Literal["ready", "blocked", "running", "succeeded", "dead", "cancelled", "expired"]

STATES: Final[tuple[State, ...]] = (
    "ready",
    "blocked",
    "running",
    "succeeded",
    "dead",
    "cancelled",
    "expired",
)
FINAL_STATES: Final[tuple[State, ...]] = ("succeeded", "dead", "cancelled", "expired")

DEFAULT_QUEUE: Final = "default"
DEFAULT_MAX_ATTEMPTS: Final = 8
PRIORITY_MIN: Final = -100
PRIORITY_MAX: Final = 100

_SINCE: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job before it exists: the task's name, its arguments, and every option resolved.

    Times are a `delay` (seconds or timedelta) or an aware `run_at`, never both; an aware
    `expires_at` or a `ttl` (seconds or timedelta from when it is due), never both. `key`, a text or
    `from_args(...)`, makes the job unique within `key_scope` (the task's name unless given): until
    the job is finished or, with `until="started"`, has started; or for `unique_for` seconds; given
    both, until whichever comes first. `on_conflict` is what happens when the key is held.
    """

    task: str
    args: Mapping[str, Any] = field(default_factory=dict)
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: float | timedelta | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    ttl: float | timedelta | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    timeout: float | timedelta | None = None
    key: str | FromArgs | None = None
    key_scope: str | None = None
    unique_for: float | timedelta | None = None
    until: Until | None = None
    on_conflict: OnConflict = "existing"
    meta: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What enqueue answers for one job.

    `created` is False when a job with the same key existed; `id` is then that job's, and `changed`
    says whether it was "replaced" or "rescheduled", or None: it stayed as it was.
    """

    id: int
    created: bool
    changed: Changed | None = None


class ClaimedJob(NamedTuple):
    """A job that this worker holds under a lease. Arguments are still JSON text.

    A tuple, and in the order of the claim's columns: one is made of each row, and it costs a
    quarter of a microsecond instead of one. So does `run_at` as PostgreSQL sends it: microseconds
    since 2000.
    """

    id: int
    lease: int
    queue: str
    task: str
    version: int
    priority: int
    attempt: int
    max_attempts: int
    timeout: float | None
    crash_count: int
    suspect: bool
    expired: bool
    args: str
    meta: str
    run_at: int

    @property
    def due_at(self) -> datetime:
        """When it was due."""
        return _SINCE + timedelta(microseconds=self.run_at)
