"""The tables, as SQLAlchemy Core; the DDL that SQLAlchemy cannot say is `ddl`.

The migrations build the same; a test compares the two catalogs. Readers use these tables for
queries; the fixed statements of the hot path are files under sql/, run by store.py alone.

Column order in `jobs`: PostgreSQL logs only the changed span of a row whose new version stays on
its page, so what claim and finish change stands together, after the fixed and before the long.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA: Final = "pgqueue"

metadata = MetaData(schema=SCHEMA)

# Names are compared as bytes: faster than the database's collation, and the same everywhere.
_NAME: Final = Text(collation="C")
_TIME: Final = DateTime(timezone=True)

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    Column("created_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("run_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", _TIME),
    Column("cancel_requested_at", _TIME),
    Column("timeout", Double),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("max_attempts", SmallInteger, nullable=False, server_default=text("8")),
    Column("crash_count", SmallInteger, nullable=False, server_default=text("0")),
    Column("suspect", Boolean, nullable=False, server_default=text("false")),
    Column("lease", BigInteger, nullable=False, server_default=text("0")),
    Column("worker_id", BigInteger),
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    Column("attempt", SmallInteger, nullable=False, server_default=text("0")),
    Column("state", _NAME, nullable=False, server_default=text("'ready'")),
    Column("result", JSONB),
    Column("queue", _NAME, nullable=False, server_default=text("'default'")),
    Column("task", _NAME, nullable=False),
    Column("key", Text),
    Column("key_scope", Text),
    Column("args", JSONB, nullable=False, server_default=text("'{}'")),
    Column("meta", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("id", name="jobs_pkey"),
    CheckConstraint(
        "state in ('ready', 'blocked', 'running', 'succeeded', 'dead', 'cancelled', 'expired')",
        name="jobs_state_known",
    ),
    CheckConstraint("state <> 'running' or worker_id is not null", name="jobs_running_has_worker"),
    CheckConstraint("priority between -100 and 100", name="jobs_priority_in_range"),
    CheckConstraint("max_attempts between 1 and 10000", name="jobs_max_attempts_in_range"),
    CheckConstraint("timeout > 0 and timeout <= 31536000", name="jobs_timeout_in_range"),
    CheckConstraint("octet_length(queue) between 1 and 50", name="jobs_queue_length"),
    CheckConstraint("octet_length(task) between 1 and 128", name="jobs_task_length"),
    CheckConstraint("octet_length(key) between 1 and 512", name="jobs_key_length"),
    # A time that psycopg cannot load would stop every claim that meets it.
    CheckConstraint(
        "run_at between '2000-01-01 00:00:00+00' and '9000-01-01 00:00:00+00'",
        name="jobs_run_at_in_range",
    ),
    CheckConstraint(
        "expires_at between '2000-01-01 00:00:00+00' and '9000-01-01 00:00:00+00'",
        name="jobs_expires_at_in_range",
    ),
)

# The claim's index serves delayed and retrying jobs too: no staging pass, no leader.
Index(
    "jobs_claim",
    jobs.c.queue,
    jobs.c.priority.desc(),
    jobs.c.run_at,
    jobs.c.id,
    postgresql_where=text("state = 'ready'"),
)
Index("jobs_running", jobs.c.worker_id, postgresql_where=text("state = 'running'"))
Index(
    "jobs_ended_badly",
    jobs.c.id,
    postgresql_where=text("state in ('dead', 'cancelled', 'expired')"),
)
Index(
    "jobs_expiring",
    jobs.c.expires_at,
    postgresql_where=text("state = 'ready' and expires_at is not null"),
)
# Few at any time: what waits to be run alone.
Index(
    "jobs_suspects",
    jobs.c.queue,
    jobs.c.run_at,
    postgresql_where=text("state = 'ready' and suspect"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("lease", BigInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("outcome", _NAME, nullable=False),
    Column("worker_id", BigInteger),
    Column("worker", Text),
    Column("started_at", _TIME),
    Column("finished_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("error_type", Text),
    Column("message", Text),
    Column("traceback", Text),
    # The same for the same error of other jobs: what the dead-letter desk groups by
    Column("fingerprint", _NAME),
    # Of a requeue: who asked for it, and the arguments that it replaced
    Column("actor", Text),
    Column("old_args", JSONB),
    PrimaryKeyConstraint("job_id", "lease", name="attempts_pkey"),
    CheckConstraint(
        "outcome in ('retried', 'dead', 'cancelled', 'expired', 'rescued', 'interrupted', "
        "'requeued')",
        name="attempts_outcome_known",
    ),
)

# Results of steps: a retry goes on where the last attempt stopped.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("lease", BigInteger, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("result", JSONB),
    PrimaryKeyConstraint("job_id", "name", name="checkpoints_pkey"),
    CheckConstraint("octet_length(name) between 1 and 128", name="checkpoints_name_length"),
)

# Effects that happen once, whichever job comes first; the claim names its job and lease.
effects = Table(
    "effects",
    metadata,
    Column("scope", _NAME, nullable=False),
    Column("key", _NAME, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("lease", BigInteger, nullable=False),
    Column("claimed_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    # null: its function has not returned
    Column("finished_at", _TIME),
    # null: kept for good
    Column("expires_at", _TIME),
    Column("result", JSONB),
    PrimaryKeyConstraint("scope", "key", name="effects_pkey"),
    CheckConstraint("octet_length(scope) between 1 and 128", name="effects_scope_length"),
    CheckConstraint("octet_length(key) between 1 and 512", name="effects_key_length"),
)

Index(
    "effects_expiring",
    effects.c.expires_at,
    postgresql_where=text("expires_at is not null"),
)
Index("effects_open", effects.c.claimed_at, postgresql_where=text("finished_at is null"))

workers = Table(
    "workers",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    Column("name", Text, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("children", Integer, nullable=False, server_default=text("0")),
    Column("started_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("heartbeat_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("ttl", Interval, nullable=False),
    # The one suspect that this worker runs now: who to blame should it die.
    Column("suspect_id", BigInteger),
    PrimaryKeyConstraint("id", name="workers_pkey"),
)

# Processes that wait for jobs to end. Few, and they rarely change: every finish looks whether there
# is any, and only then for who waits for its job.
waiters = Table(
    "waiters",
    metadata,
    Column("id", BigInteger, nullable=False, autoincrement=False),
    # Whoever does not renew it is gone
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("id", name="waiters_pkey"),
)

# What they wait for: the finish of such a job notifies.
waits = Table(
    "waits",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("waiter_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_id", "waiter_id", name="waits_pkey"),
    ForeignKeyConstraint(
        ["waiter_id"], ["pgqueue.waiters.id"], ondelete="cascade", name="waits_waiter_id_fkey"
    ),
)

# How far running jobs are, as their handlers say; of those that ended, what was said last.
progress = Table(
    "progress",
    metadata,
    Column("job_id", BigInteger, nullable=False, autoincrement=False),
    Column("lease", BigInteger, nullable=False),
    # Grows with each report of an attempt
    Column("sequence", BigInteger, nullable=False),
    Column("done", Double, nullable=False),
    Column("total", Double),
    Column("message", Text),
    Column("reported_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("job_id", name="progress_pkey"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", _NAME, nullable=False),
    Column("key", _NAME, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    # The end of the window; null: there is none
    Column("expires_at", _TIME),
    # What ends it besides: the job is finished, or has started; null: neither
    Column("until", _NAME, server_default=text("'finished'")),
    PrimaryKeyConstraint("scope", "key", name="idempotency_keys_pkey"),
    CheckConstraint("octet_length(scope) between 1 and 128", name="idempotency_keys_scope_length"),
    CheckConstraint("octet_length(key) between 1 and 512", name="idempotency_keys_key_length"),
    CheckConstraint("until in ('finished', 'started')", name="idempotency_keys_until_known"),
    CheckConstraint("until is not null or expires_at is not null", name="idempotency_keys_end"),
)

# Settings of queues that have any. The count is of a moment ago; the enqueue path only reads it.
queues = Table(
    "queues",
    metadata,
    Column("name", _NAME, nullable=False),
    # null: no limit
    Column("max_depth", Integer),
    Column("depth", Integer, nullable=False, server_default=text("0")),
    Column("is_full", Boolean, nullable=False, server_default=text("false")),
    Column("counted_at", _TIME),
    PrimaryKeyConstraint("name", name="queues_pkey"),
    CheckConstraint("octet_length(name) between 1 and 50", name="queues_name_length"),
    CheckConstraint("max_depth between 1 and 10000000", name="queues_max_depth_in_range"),
    CheckConstraint("not is_full or max_depth is not null", name="queues_full_has_limit"),
)

# How long jobs are kept after their end; a task without a row of its own goes by that of `*`.
retention = Table(
    "retention",
    metadata,
    Column("task", _NAME, nullable=False),
    Column("state", _NAME, nullable=False),
    # null: for ever
    Column("keep", Interval),
    # What an operator has set, no app changes
    Column("set_by", _NAME, nullable=False, server_default=text("'operator'")),
    Column("set_at", _TIME, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("task", "state", name="retention_pkey"),
    CheckConstraint("octet_length(task) between 1 and 128", name="retention_task_length"),
    CheckConstraint(
        "state in ('succeeded', 'dead', 'cancelled', 'expired')", name="retention_state_final"
    ),
    CheckConstraint("keep >= interval '0'", name="retention_keep_positive"),
    CheckConstraint("set_by in ('app', 'default', 'operator')", name="retention_set_by_known"),
)

# Who sleeps and wants a NOTIFY: enqueue notifies only queues that stand here.
sleepers = Table(
    "sleepers",
    metadata,
    Column("queue", _NAME, nullable=False),
    Column("worker_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("queue", "worker_id", name="sleepers_pkey"),
    # A worker that leaves or is buried wakes for good; both tables are tiny.
    ForeignKeyConstraint(
        ["worker_id"], ["pgqueue.workers.id"], ondelete="cascade", name="sleepers_worker_id_fkey"
    ),
)

# The heads that the last probe found, for all workers to lower their floors to.
lanes = Table(
    "lanes",
    metadata,
    Column("queue", _NAME, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("head_at", _TIME, nullable=False),
    Column("head_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("queue", "priority", name="lanes_pkey"),
)

# When a maintenance step ran last; its row lock keeps a second worker from running it too.
steps = Table(
    "steps",
    metadata,
    Column("name", _NAME, nullable=False),
    Column("ran_at", _TIME, nullable=False, server_default=text("'2000-01-01 00:00:00+00'")),
    # Where a step that walks through a table goes on
    Column("place", JSONB),
    PrimaryKeyConstraint("name", name="steps_pkey"),
)
