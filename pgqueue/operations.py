"""What an operator does to jobs: cancel, requeue, delete; under locks, and never by half.

Locks are taken in the order that enqueue takes them: key rows, sorted by (scope, key), then jobs
by id. Each step is a statement of its own, because at READ COMMITTED only a new statement sees
what a lock was waited for. What may happen to a job is decided here, from its locked state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from pgqueue import store
from pgqueue.errors import JobConflict, JobNotFound, PgQueueError
from pgqueue.job import FINAL_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pgqueue.client import OwnConnections
    from pgqueue.connections import Connection
    from pgqueue.job import State

BATCH: Final = 1000
"""Jobs that one transaction changes at most: short locks, and little to do again if it fails."""

REQUEUEABLE: Final = ("dead", "cancelled", "expired")

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


_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Operator:
    """The actions, each batch in a transaction of its own."""

    own: OwnConnections

    def cancel(self, ids: Iterable[int], *, states: Collection[str] = ()) -> Report:
        """Cancel jobs; those that run are asked to end, and their worker is told.

        Args:
            ids: the jobs.
            states: leave alone a job that is in another state by now; empty for any.
        """
        return self._apply(_cancel, ids, states)

    def requeue(self, ids: Iterable[int], *, states: Collection[str] = ()) -> Report:
        """Make dead, cancelled and expired jobs ready again, with all their attempts."""
        return self._apply(_requeue, ids, states)

    def delete(self, ids: Iterable[int], *, states: Collection[str] = ()) -> Report:
        """Delete final jobs, with what is recorded of them."""
        return self._apply(_delete, ids, states)

    def purge(self, ids: Iterable[int]) -> Report:
        """Delete jobs that wait to be run, as if they had never been enqueued."""
        return self._apply(_purge, ids, ())

    def _apply(
        self,
        action: Callable[[Connection, list[int], Collection[str], Report], None],
        ids: Iterable[int],
        states: Collection[str],
    ) -> Report:
        report = Report()
        for batch in _batches(ids):
            with self.own.transaction() as connection:
                action(connection, batch, states, report)
        return report


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    remaining = iter(dict.fromkeys(ids))
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _cancel(
    connection: Connection, ids: list[int], states: Collection[str], report: Report
) -> None:
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


def _delete(
    connection: Connection, ids: list[int], states: Collection[str], report: Report
) -> None:
    _lock_keys(connection, {(job.scope, job.key) for job in _read(connection, ids) if job.key})
    jobs = _lock_jobs(connection, ids, states, report)
    for job_id, state in jobs.items():
        if state not in FINAL_STATES:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state}: cancel it first, then delete it"
            )
    final = [job_id for job_id, state in jobs.items() if state in FINAL_STATES]
    _write(connection, "operator_delete", final, "deleted", report)


def _purge(connection: Connection, ids: list[int], states: Collection[str], report: Report) -> None:
    _lock_keys(connection, {(job.scope, job.key) for job in _read(connection, ids) if job.key})
    jobs = _lock_jobs(connection, ids, states, report)
    for job_id, state in jobs.items():
        if state not in WAITING:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state} by now: only jobs that wait are purged"
            )
    waiting = [job_id for job_id, state in jobs.items() if state in WAITING]
    _write(connection, "operator_delete", waiting, "purged", report)


def _requeue(
    connection: Connection, ids: list[int], states: Collection[str], report: Report
) -> None:
    found = _read(connection, ids)
    keyed = {job.id: (job.scope, job.key) for job in found if job.key is not None}
    ended = [job.id for job in found if job.state in REQUEUEABLE]
    holders = _take_keys(connection, {keyed[job_id]: job_id for job_id in ended if job_id in keyed})
    for job_id, state in _lock_jobs(connection, ids, states, report).items():
        if state not in REQUEUEABLE:
            report.refused[job_id] = JobConflict(
                f"job {job_id} is {state}: only jobs that are {', '.join(REQUEUEABLE)} can be "
                "requeued"
            )
        elif job_id not in ended:
            report.refused[job_id] = JobConflict(f"job {job_id} ended just now: try again")
    ready = [job_id for job_id in ended if job_id not in report.refused]
    held = _held_keys(connection, holders)
    winners = _winners({id_: keyed[id_] for id_ in ready if id_ in keyed}, holders, held, report)
    _hold_keys(connection, winners)
    ready = [job_id for job_id in ready if job_id not in report.refused]
    _write(connection, "operator_requeue", ready, "requeued", report)


def _winners(
    wanted: dict[int, _Key], holders: dict[_Key, int], held: Collection[_Key], report: Report
) -> dict[_Key, int]:
    """Which of the jobs gets each key; the others are refused, with the holder's id."""
    winners: dict[_Key, int] = {}
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


def _take_keys(connection: Connection, wanted: dict[_Key, int]) -> dict[_Key, int]:
    """Lock the keys, taking those that nobody has; the job that each maps to.

    Another round is for a key that existed at the insert and was deleted before the lock.
    """
    holders: dict[_Key, int] = {}
    while missing := {key: wanted[key] for key in wanted.keys() - holders.keys()}:
        store.execute(connection, "operator_insert_keys", _key_values(missing))
        holders |= _lock_keys(connection, missing)
    return holders


def _lock_keys(connection: Connection, keys: Collection[_Key]) -> dict[_Key, int]:
    values = {"scopes": [scope for scope, _ in keys], "keys": [key for _, key in keys]}
    rows = store.execute(connection, "operator_lock_keys", values)
    return {(scope, key): job_id for scope, key, job_id in rows}


def _held_keys(connection: Connection, keys: Collection[_Key]) -> set[_Key]:
    """Those of the locked keys that are held now; needs a statement after the jobs are locked."""
    values = {"scopes": [scope for scope, _ in keys], "keys": [key for _, key in keys]}
    rows = store.execute(connection, "operator_held_keys", values)
    return {(scope, key) for scope, key in rows}


def _hold_keys(connection: Connection, winners: dict[_Key, int]) -> None:
    store.execute(connection, "operator_hold_keys", _key_values(winners))


def _key_values(wanted: dict[_Key, int]) -> dict[str, list[str] | list[int]]:
    # By bytes, as the table's collation "C" sorts them: everybody locks keys in this one order.
    ordered = sorted(wanted.items(), key=lambda item: [part.encode() for part in item[0]])
    return {
        "scopes": [scope for (scope, _), _ in ordered],
        "keys": [key for (_, key), _ in ordered],
        "job_ids": [job_id for _, job_id in ordered],
    }


def _write(connection: Connection, name: str, ids: list[int], word: str, report: Report) -> None:
    if ids:
        store.execute(connection, name, {"ids": ids})
        report.done.update(dict.fromkeys(ids, word))
