-- The tables of pgqueue. The schema itself stands already: the version table needed it.
revoke all on schema pgqueue from public;

-- Column order: PostgreSQL logs only the changed span of a row whose new version stays on its
-- page, so what claim and finish change stands together, after the fixed and before the long.
create table pgqueue.jobs (
    id                  bigint generated always as identity,
    created_at          timestamptz not null default clock_timestamp(),
    run_at              timestamptz not null default clock_timestamp(),
    expires_at          timestamptz,
    cancel_requested_at timestamptz,
    timeout             double precision,
    version             integer not null default 1,
    priority            smallint not null default 0,
    max_attempts        smallint not null default 8,
    crash_count         smallint not null default 0,
    suspect             boolean not null default false,
    lease               bigint not null default 0,
    worker_id           bigint,
    started_at          timestamptz,
    finished_at         timestamptz,
    attempt             smallint not null default 0,
    state               text collate "C" not null default 'ready',
    result              jsonb,
    queue               text collate "C" not null default 'default',
    task                text collate "C" not null,
    key                 text,
    key_scope           text,
    args                jsonb not null default '{}',
    meta                jsonb not null default '{}',
    constraint jobs_pkey primary key (id),
    constraint jobs_state_known check (
        state in ('ready', 'blocked', 'running', 'succeeded', 'dead', 'cancelled', 'expired')),
    constraint jobs_running_has_worker check (state <> 'running' or worker_id is not null),
    constraint jobs_priority_in_range check (priority between -100 and 100),
    constraint jobs_max_attempts_in_range check (max_attempts between 1 and 10000),
    constraint jobs_timeout_in_range check (timeout > 0 and timeout <= 31536000),
    constraint jobs_queue_length check (octet_length(queue) between 1 and 50),
    constraint jobs_task_length check (octet_length(task) between 1 and 128),
    constraint jobs_key_length check (octet_length(key) between 1 and 512),
    constraint jobs_run_at_in_range check (
        run_at between '2000-01-01 00:00:00+00' and '9000-01-01 00:00:00+00'),
    constraint jobs_expires_at_in_range check (
        expires_at between '2000-01-01 00:00:00+00' and '9000-01-01 00:00:00+00')
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

create index jobs_claim on pgqueue.jobs (queue, priority desc, run_at, id)
    where state = 'ready';

create index jobs_running on pgqueue.jobs (worker_id)
    where state = 'running';

create index jobs_ended_badly on pgqueue.jobs (id)
    where state in ('dead', 'cancelled', 'expired');

create index jobs_expiring on pgqueue.jobs (expires_at)
    where state = 'ready' and expires_at is not null;

create index jobs_suspects on pgqueue.jobs (queue, run_at)
    where state = 'ready' and suspect;

create table pgqueue.attempts (
    job_id      bigint not null,
    lease       bigint not null,
    attempt     smallint not null,
    outcome     text collate "C" not null,
    worker_id   bigint,
    worker      text,
    started_at  timestamptz,
    finished_at timestamptz not null default clock_timestamp(),
    error_type  text,
    message     text,
    traceback   text,
    fingerprint text collate "C",
    actor       text,
    old_args    jsonb,
    constraint attempts_pkey primary key (job_id, lease),
    constraint attempts_outcome_known check (
        outcome in ('retried', 'dead', 'cancelled', 'expired', 'rescued', 'interrupted',
            'requeued'))
);

create table pgqueue.checkpoints (
    job_id     bigint not null,
    name       text collate "C" not null,
    lease      bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    result     jsonb,
    constraint checkpoints_pkey primary key (job_id, name),
    constraint checkpoints_name_length check (octet_length(name) between 1 and 128)
);

create table pgqueue.effects (
    scope       text collate "C" not null,
    key         text collate "C" not null,
    job_id      bigint not null,
    lease       bigint not null,
    claimed_at  timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    expires_at  timestamptz,
    result      jsonb,
    constraint effects_pkey primary key (scope, key),
    constraint effects_scope_length check (octet_length(scope) between 1 and 128),
    constraint effects_key_length check (octet_length(key) between 1 and 512)
);

create index effects_expiring on pgqueue.effects (expires_at)
    where expires_at is not null;

create index effects_open on pgqueue.effects (claimed_at)
    where finished_at is null;

create table pgqueue.workers (
    id           bigint generated always as identity,
    name         text not null,
    hostname     text not null,
    pid          integer not null,
    version      text not null,
    queues       text[] not null,
    concurrency  integer not null,
    threads      integer not null,
    children     integer not null default 0,
    started_at   timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    ttl          interval not null,
    suspect_id   bigint,
    constraint workers_pkey primary key (id)
) with (fillfactor = 50);

create table pgqueue.waiters (
    id         bigint not null,
    expires_at timestamptz not null,
    constraint waiters_pkey primary key (id)
);

create table pgqueue.waits (
    job_id    bigint not null,
    waiter_id bigint not null,
    constraint waits_pkey primary key (job_id, waiter_id),
    constraint waits_waiter_id_fkey foreign key (waiter_id)
        references pgqueue.waiters (id) on delete cascade
);

create table pgqueue.progress (
    job_id      bigint not null,
    lease       bigint not null,
    sequence    bigint not null,
    done        double precision not null,
    total       double precision,
    message     text,
    reported_at timestamptz not null default clock_timestamp(),
    constraint progress_pkey primary key (job_id)
) with (fillfactor = 50);

create table pgqueue.idempotency_keys (
    scope      text collate "C" not null,
    key        text collate "C" not null,
    job_id     bigint not null,
    expires_at timestamptz,
    until      text collate "C" default 'finished',
    constraint idempotency_keys_pkey primary key (scope, key),
    constraint idempotency_keys_scope_length check (octet_length(scope) between 1 and 128),
    constraint idempotency_keys_key_length check (octet_length(key) between 1 and 512),
    constraint idempotency_keys_until_known check (until in ('finished', 'started')),
    constraint idempotency_keys_end check (until is not null or expires_at is not null)
);

create table pgqueue.queues (
    name       text collate "C" not null,
    max_depth  integer,
    depth      integer not null default 0,
    is_full    boolean not null default false,
    counted_at timestamptz,
    constraint queues_pkey primary key (name),
    constraint queues_name_length check (octet_length(name) between 1 and 50),
    constraint queues_max_depth_in_range check (max_depth between 1 and 10000000),
    constraint queues_full_has_limit check (not is_full or max_depth is not null)
) with (fillfactor = 50);

create table pgqueue.retention (
    task   text collate "C" not null,
    state  text collate "C" not null,
    keep   interval,
    set_by text collate "C" not null default 'operator',
    set_at timestamptz not null default clock_timestamp(),
    constraint retention_pkey primary key (task, state),
    constraint retention_task_length check (octet_length(task) between 1 and 128),
    constraint retention_state_final check (
        state in ('succeeded', 'dead', 'cancelled', 'expired')),
    constraint retention_keep_positive check (keep >= interval '0'),
    constraint retention_set_by_known check (set_by in ('app', 'default', 'operator'))
);

create table pgqueue.sleepers (
    queue     text collate "C" not null,
    worker_id bigint not null,
    constraint sleepers_pkey primary key (queue, worker_id),
    constraint sleepers_worker_id_fkey foreign key (worker_id)
        references pgqueue.workers (id) on delete cascade
);

create table pgqueue.lanes (
    queue    text collate "C" not null,
    priority smallint not null,
    head_at  timestamptz not null,
    head_id  bigint not null,
    constraint lanes_pkey primary key (queue, priority)
) with (fillfactor = 50);

create table pgqueue.steps (
    name   text collate "C" not null,
    ran_at timestamptz not null default '2000-01-01 00:00:00+00',
    place  jsonb,
    constraint steps_pkey primary key (name)
) with (fillfactor = 50);
