"""What people and programs see of jobs, queues and workers: values, read at one moment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pgqueue.errors import ConfigError
from pgqueue.job import STATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pgqueue.job import State

COUNT_CAP: Final = 10_000
"""Counts stop here and say so: a look at a large table must not cost a walk through it."""

REACH: Final = 100_000
"""Of jobs that ended badly, as many are looked at to count those that are dead."""
MANY_DEAD: Final = 1000
OLD_DEAD: Final = 30 * 86_400.0
"""Dead jobs, and seconds, from which on it is worth a warning."""
OVERDUE: Final = 3600.0
"""Seconds that prune may be behind before that is worth one."""
ENDED_BADLY: Final[tuple[State, ...]] = ("dead", "cancelled", "expired")
"""What an operator may want to look at, and requeue."""

_is_fingerprint: Final = re.compile("[0-9a-f]{16}").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs: all that match every part given; an empty part matches everything.

    Attributes:
        fingerprints: of the error that ended it, or that it is retried after; without states: of
            jobs that are dead, cancelled or expired.
        error_types: of that error, as recorded; else as `fingerprints`.
        since: it ended then or later; with a time zone.
        until: it ended before; with a time zone.
    """

    states: Sequence[State] = ()
    queues: Sequence[str] = ()
    tasks: Sequence[str] = ()
    fingerprints: Sequence[str] = ()
    error_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                raise ConfigError(f"state {state!r}: expected one of {', '.join(STATES)}")
        for fingerprint in self.fingerprints:
            if not _is_fingerprint(fingerprint):
                raise ConfigError(f"fingerprint {fingerprint!r}: expected 16 digits of 0-9 a-f")
        for name in ("since", "until"):
            time = getattr(self, name)
            if time is not None and time.utcoffset() is None:
                raise ConfigError(f"{name}={time!r}: expected a time with its zone")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ConfigError(f"until={self.until}: expected a time after since={self.since}")

    @property
    def matches_all(self) -> bool:
        """Whether nothing was asked for."""
        return not (self.states or self.is_selective)

    @property
    def is_selective(self) -> bool:
        """Whether more than states was asked for."""
        times = (self.since, self.until)
        return bool(self.queues or self.tasks or self.by_error) or times != (None, None)

    @property
    def by_error(self) -> bool:
        """Whether it was asked for errors."""
        return bool(self.fingerprints or self.error_types)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as lists show it.

    Attributes:
        waiting: `run_at` lies in the future, by the database's clock.
        args: JSON text, cut at 200 characters.
    """

    id: int
    queue: str
    task: str
    state: State
    priority: int
    attempt: int
    max_attempts: int
    run_at: datetime
    waiting: bool
    created_at: datetime
    finished_at: datetime | None
    args: str

    @property
    def shown_state(self) -> str:
        """The state in words: a ready job whose time has not come is waiting, or retrying."""
        return shown_state(self.state, self.run_at, waiting=self.waiting, attempt=self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """An attempt that did not succeed, and why; or, as outcome `requeued`, a requeue.

    Attributes:
        fingerprint: the same for the same error of other jobs; None of a requeue.
        actor: who requeued it.
        old_args: the arguments that a requeue replaced; None when it left them as they were.
    """

    lease: int
    attempt: int
    outcome: str
    worker: str | None
    started_at: datetime | None
    finished_at: datetime
    error_type: str | None
    message: str | None
    traceback: str | None
    fingerprint: str | None = None
    actor: str | None = None
    old_args: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """How far a job is, or was, as its handler said.

    Attributes:
        done, total: in units of the handler's; total None where it is not known.
        lease: of the attempt that said so: the job's own while that runs.
        age: seconds since then, by the database's clock.
    """

    done: float
    total: float | None
    message: str | None
    lease: int
    reported_at: datetime
    age: float

    @property
    def share(self) -> float | None:
        """0 to 1, where that can be said."""
        if not self.total:
            return None if self.total is None else 1.0
        return min(self.done / self.total, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """Everything that is known about a job.

    Attributes:
        read_at: when this was read, by the database's clock.
        waiting: `run_at` lies in the future, by the same clock.
        args: decoded; as text where it cannot be decoded.
        attempts: those that did not succeed, and the requeues between them, oldest first.
        requeues: how often it was requeued.
        progress: what its handler said last; None where none said anything.
    """

    id: int
    queue: str
    task: str
    version: int
    state: State
    priority: int
    attempt: int
    max_attempts: int
    crash_count: int
    suspect: bool
    lease: int
    worker_id: int | None
    timeout: float | None
    key: str | None
    key_scope: str | None
    created_at: datetime
    run_at: datetime
    waiting: bool
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    read_at: datetime = field(compare=False)
    args: Any
    meta: Any
    result: Any
    attempts: Sequence[AttemptView] = ()
    requeues: int = 0
    progress: ProgressView | None = None

    @property
    def shown_state(self) -> str:
        """The state in words: a ready job whose time has not come is waiting, or retrying."""
        return shown_state(self.state, self.run_at, waiting=self.waiting, attempt=self.attempt)


def shown_state(state: State, run_at: datetime, *, waiting: bool, attempt: int) -> str:
    """A state as people read it."""
    if state != "ready" or not waiting:
        return state
    word = "retrying at" if attempt else "waiting until"
    return f"{word} {run_at.astimezone():%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of jobs; `more` when counting stopped at it."""

    value: int
    more: bool = False

    def __str__(self) -> str:
        if not self.more:
            return str(self.value)
        return f"{self.value // 1000}k+" if self.value >= 1000 else f"{self.value}+"  # noqa: PLR2004 - k

    @classmethod
    def capped(cls, counted: int) -> Count:
        """A count that was made to stop one after COUNT_CAP."""
        return cls(min(counted, COUNT_CAP), counted > COUNT_CAP)


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


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long jobs of a task are kept after their end.

    Attributes:
        task: `*` stands for all tasks without a rule of their own.
        keep: seconds; None for ever.
        set_by: "app", "operator" or "default"; what an operator has set, no app changes, and a
            default gives way to everybody.
    """

    task: str
    state: State
    keep: float | None
    set_by: str


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is kept, and whether prune keeps up.

    Attributes:
        dead: dead jobs, among the oldest 100,000 that ended badly.
        oldest_dead: seconds for which one of them has been dead; None without one.
        prune_ran: seconds since a worker looked for jobs to prune; None when none ever did.
        overdue: seconds for which the next jobs that prune will come to have been old enough.
    """

    dead: Count
    oldest_dead: float | None
    prune_ran: float | None
    overdue: float

    def warnings(self) -> list[str]:
        """What somebody should look at, a sentence each."""
        found = []
        if self.dead.value >= MANY_DEAD or (self.oldest_dead or 0.0) > OLD_DEAD:
            days = (self.oldest_dead or 0.0) / 86_400
            found.append(
                f"{self.dead} dead jobs are kept, one for {days:.0f} days: requeue or delete them "
                "(pgqueue jobs list --state dead), or let them be pruned (pgqueue retention set "
                "'*' dead 30d)"
            )
        if self.overdue > OVERDUE:
            found.append(
                f"prune is {self.overdue / 3600:.1f} h behind: the table grows; make tasks "
                "ephemeral, or look what slows the server down"
            )
        return found


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
