"""What one transaction does to jobs by their ids: under locks, by their state, and reported.

Locks are taken in the order that enqueue takes them: key rows, sorted by (scope, key), then jobs
by id. Each step is a statement of its own, because at READ COMMITTED only a new statement sees
what a lock was waited for. What may happen to a job is decided here, from its locked state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue import key_rows, store
from pgqueue.errors import JobConflict, JobNotFound, PgQueueError
from pgqueue.job import FINAL_STATES
from pgqueue.views import ENDED_BADLY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pgqueue.connections import Connection
    from pgqueue.job import State
    from pgqueue.key_rows import Key

REQUEUEABLE: Final = ENDED_BADLY

WAITING: Final[tuple[State, ...]] = ("ready", "blocked")


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the jobs that an action was asked for.

    Attributes:
        done: by id, what was done: cancelled, requested (a running job's worker was asked to
            cancel it), requeued, deleted.
        refused: by id, why nothing was done.
    """

    done: dict[int, str] = field(default_factory=dict)
    refused: dict[int, PgQueueError] = field(default_factory=dict)

    def only(self) -> str:
        """What was done to the one job asked for; raises what refused it."""
        for error in self.refused.values():
            raise error
        return next(iter(self.done.values()))


class _Job(NamedTuple):
    """What is read of a job before it is locked; but for the state nothing of it ever changes."""

    id: int
    state: str
    task: str
    scope: str
    key: str | None


class Stored(NamedTuple):
    """What an edit must know of a job; arguments and meta are JSON text."""

    task: str
    version: int
    args: str
    meta: str


class Edited(NamedTuple):
    """New arguments, as they are stored, and a note that says which ones changed."""

    version: int
    args: str
    note: str


Edit = Callable[[Stored], Edited | None]
"""New arguments for a job; None leaves them as they are. What it raises undoes the requeue."""


def cancel(connection: Connection, ids: list[int], states: Collection[str], report: Report) -> None:
    """Cancel what waits, and ask for it where it runs."""
    jobs = _lock_jobs(connection, ids, states, report)
    for job_id, state in jobs.items():
        if state in FINAL_STATES:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is already {state}: there is nothing to cancel"
            )
    waiting = [job_id for job_id, state in jobs.items() if state in ("ready", "blocked")]
    running = [job_id for job_id, state in jobs.items() if state == "running"]
    _write(connection, "operator_cancel", waiting, "cancelled", report)
    _write(connection, "operator_request_cancel", running, "requested", report)


def delete(connection: Connection, ids: list[int], states: Collection[str], report: Report) -> None:
    """Delete what has ended, and what is recorded of it."""
    key_rows.lock_keys(
        connection, {(job.scope, job.key) for job in _read(connection, ids) if job.key}
    )
    jobs = _lock_jobs(connection, ids, states, report)
    for job_id, state in jobs.items():
        if state not in FINAL_STATES:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state}: cancel it first, then delete it"
            )
    final = [job_id for job_id, state in jobs.items() if state in FINAL_STATES]
    _write(connection, "operator_delete", final, "deleted", report)


def purge(connection: Connection, ids: list[int], states: Collection[str], report: Report) -> None:
    """Delete what waits, as if it had never been enqueued."""
    key_rows.lock_keys(
        connection, {(job.scope, job.key) for job in _read(connection, ids) if job.key}
    )
    jobs = _lock_jobs(connection, ids, states, report)
    for job_id, state in jobs.items():
        if state not in WAITING:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state} by now: only jobs that wait are purged"
            )
    waiting = [job_id for job_id, state in jobs.items() if state in WAITING]
    _write(connection, "operator_delete", waiting, "purged", report)


def requeue(
    connection: Connection,
    ids: list[int],
    states: Collection[str],
    report: Report,
    *,
    values: dict[str, Any],
    edit: Edit | None,
) -> None:
    """Make ready again what ended badly, and take its key back, unless another job holds that.

    Args:
        connection: in a transaction.
        ids: the jobs.
        states: leave alone a job that is in another state by now; empty for any.
        report: takes what became of each.
        values: for operator_requeue.
        edit: gives each job new arguments.
    """
    found = _read(connection, ids)
    keyed = {job.id: (job.scope, job.key) for job in found if job.key is not None}
    ended = [job.id for job in found if job.state in REQUEUEABLE]
    holders = key_rows.take_keys(
        connection, {keyed[job_id]: job_id for job_id in ended if job_id in keyed}
    )
    for job_id, state in _lock_jobs(connection, ids, states, report).items():
        if state not in REQUEUEABLE:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state}: only jobs that are {', '.join(REQUEUEABLE)} can be "
                "requeued"
            )
        elif job_id not in ended:
            report.refused[job_id] = JobConflict(f"job {job_id} ended just now: try again")
    ready = [job_id for job_id in ended if job_id not in report.refused]
    held = key_rows.held_keys(connection, holders)
    winners = _winners({id_: keyed[id_] for id_ in ready if id_ in keyed}, holders, held, report)
    key_rows.hold_keys(connection, winners)
    ready = [job_id for job_id in ready if job_id not in report.refused]
    _write(connection, "operator_requeue", ready, "requeued", report, **values)
    if edit is not None:
        for job_id in ready:
            _edit(connection, job_id, edit)


def _edit(connection: Connection, job_id: int, edit: Edit) -> None:
    [row] = store.execute(connection, "operator_read_args", {"id": job_id})
    edited = edit(Stored(*row))
    if edited is not None:
        store.execute(connection, "operator_edit", {"id": job_id, **edited._asdict()})


def _winners(
    wanted: dict[int, Key], holders: dict[Key, int], held: Collection[Key], report: Report
) -> dict[Key, int]:
    """Which of the jobs gets each key; the others are refused, with the holder's id."""
    winners: dict[Key, int] = {}
    for job_id, key in wanted.items():
        holder = holders[key]
        first = holder if key in held or holder in wanted else winners.get(key, job_id)
        if first == job_id:
            winners[key] = job_id
        else:
            report.refused[job_id] = JobConflict(
                f"job {job_id} cannot be requeued: job {first} holds its key {key[1]!r} in scope "
                f"{key[0]!r}"
            )
    return winners


def _read(connection: Connection, ids: Iterable[int]) -> list[_Job]:
    rows = store.execute(connection, "operator_read_jobs", {"ids": list(ids)})
    return [_Job(*row) for row in rows]


def _lock_jobs(
    connection: Connection, ids: list[int], states: Collection[str], report: Report
) -> dict[int, str]:
    """The locked jobs and their states; those that are gone or in another state are refused."""
    rows = store.execute(connection, "operator_lock_jobs", {"ids": ids})
    jobs: dict[int, str] = dict(rows.fetchall())
    for job_id in ids:
        if job_id not in jobs:
            report.refused[job_id] = JobNotFound(f"no job has the id {job_id}")
        elif states and jobs[job_id] not in states:
            state = jobs.pop(job_id)
            report.refused[job_id] = JobConflict(f"job {job_id} is {state} by now: left alone")
    return jobs


def _write(
    connection: Connection, name: str, ids: list[int], word: str, report: Report, **values: Any
) -> None:
    if ids:
        store.execute(connection, name, {"ids": ids, **values})
        report.done.update(dict.fromkeys(ids, word))
