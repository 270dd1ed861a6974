"""What each kind of role needs, as GRANT statements: no more than its work takes. Pure.

Nothing is granted to PUBLIC, and no function runs with its owner's rights: pgqueue.enqueue is
SECURITY INVOKER. With the owner's rights, every operator in it that a caller's search_path can
shadow would be a way to them; so would the text of every job. With the caller's rights a hostile
search_path hurts its owner alone, row security and auditing see the true role, and column grants
keep a producer from writing what only workers write.
"""

from __future__ import annotations

from typing import Final

from pgqueue.errors import ConfigError

_LONGEST_NAME: Final = 63

VIEWS: Final = ("job_overview", "queue_stats", "dead_jobs", "dead_groups", "slow_tasks")

# By table, what is readable without arguments, results, meta, keys and tracebacks.
_PLAIN: Final = {
    "jobs": "id, created_at, run_at, expires_at, cancel_requested_at, timeout, version, priority, "
    "max_attempts, crash_count, suspect, lease, worker_id, started_at, finished_at, attempt, "
    "state, queue, task",
    "attempts": "job_id, lease, attempt, outcome, worker_id, worker, started_at, finished_at, "
    "error_type, fingerprint, actor",
    "progress": "job_id, lease, sequence, done, total, reported_at",
    "checkpoints": "job_id, name, lease, created_at",
    "effects": "scope, job_id, lease, claimed_at, finished_at, expires_at",
}
_SHARED: Final = ("workers", "sleepers", "lanes", "queues", "retention", "steps")
_WAITED: Final = "pgqueue.waiters, pgqueue.waits"
_KEPT: Final = ("attempts", "progress", "checkpoints", "effects")
_ENQUEUED: Final = (
    "id, task, args, queue, priority, created_at, run_at, expires_at, max_attempts, timeout, key, "
    "key_scope, meta, version"
)
_ANSWERED: Final = "id, state, attempt, queue, priority, run_at"
_WORKED: Final = (
    "state, lease, attempt, worker_id, run_at, started_at, finished_at, result, crash_count, "
    "suspect, cancel_requested_at, expires_at"
)


def reader(role: str) -> list[str]:
    """For people and monitors: the views, and the tables without what jobs carry."""
    tables = ", ".join(f"pgqueue.{name}" for name in (*VIEWS, *_SHARED, "alembic_version"))
    columns = [
        f"grant select ({columns}) on pgqueue.{table} to {quoted(role)};"
        for table, columns in _PLAIN.items()
    ]
    return [_usage(role), f"grant select on {tables} to {quoted(role)};", *columns]


def producer(role: str) -> list[str]:
    """For applications: enqueue and copy jobs; nothing else, and no other job's arguments."""
    name = quoted(role)
    return [
        _usage(role),
        f"grant execute on all functions in schema pgqueue to {name};",
        f"grant usage on sequence pgqueue.jobs_id_seq to {name};",
        f"grant insert ({_ENQUEUED}), select ({_ANSWERED}) on pgqueue.jobs to {name};",
        f"grant select, insert, update on pgqueue.idempotency_keys to {name};",
        f"grant select on pgqueue.sleepers, pgqueue.queues, pgqueue.alembic_version to {name};",
    ]


def waiter(role: str) -> list[str]:
    """For applications that also wait for results: how any job ended, and what came of it."""
    name = quoted(role)
    return [
        *producer(role),
        f"grant select (task, result) on pgqueue.jobs to {name};",
        f"grant select ({_PLAIN['attempts']}, message, traceback) on pgqueue.attempts to {name};",
        f"grant select, insert, update, delete on {_WAITED} to {name};",
    ]


def worker(role: str) -> list[str]:
    """For workers and operators: run, cancel, requeue, delete; enqueue too, for handlers do.

    It cannot change what a job is: its task, queue, priority, arguments, meta and limits.
    """
    name = quoted(role)
    everything = ", ".join(f"pgqueue.{table}" for table in (*_SHARED, *_KEPT))
    return [
        *waiter(role),
        f"grant select, delete, update ({_WORKED}) on pgqueue.jobs to {name};",
        f"grant select, insert, update, delete on {everything} to {name};",
        f"grant delete on pgqueue.idempotency_keys to {name};",
        f"grant usage on sequence pgqueue.workers_id_seq to {name};",
        f"grant select on {', '.join(f'pgqueue.{view}' for view in VIEWS)} to {name};",
    ]


def quoted(role: str) -> str:
    """A role's name as SQL.

    Raises:
        ConfigError: no role can have that name.
    """
    if not 1 <= len(role.encode()) <= _LONGEST_NAME or "\0" in role:
        raise ConfigError(f"{role!r} is no name of a role: expected 1 to {_LONGEST_NAME} bytes")
    return '"' + role.replace('"', '""') + '"'


def _usage(role: str) -> str:
    return f"grant usage on schema pgqueue to {quoted(role)};"
