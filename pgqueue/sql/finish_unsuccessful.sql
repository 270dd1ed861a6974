-- Records every other end of a lease: retry, snooze, release (state ready, due after `delay`
-- seconds), dead, cancelled, expired; with a row in `attempts` where `outcome` says so.
-- By: a worker's exchange. Locks: the jobs, in the order given (by id), skipping locked ones.
-- Where cancel was requested meanwhile, any end but success is `cancelled`; the answer says so.
-- `crashed` blames the job for the death of its child process; what it becomes is decided before.
-- A job whose attempt ended by itself is no suspect any more; one given back unstarted stays one.
with outcome as materialized (
    select *
    from jsonb_to_recordset(%(outcomes)s::jsonb) as outcome (
        id bigint, lease bigint, state text, delay double precision, refund smallint,
        outcome text, error_type text, message text, traceback text, fingerprint text,
        crashed smallint
    )
),
held as materialized (
    select
        outcome.*, job.task, job.attempt, job.worker_id, job.started_at,
        case
            when job.cancel_requested_at is not null and outcome.state in ('ready', 'dead')
                then 'cancelled'
            else outcome.state
        end as next_state
    from outcome
    cross join lateral (
        select job.task, job.attempt, job.worker_id, job.started_at, job.cancel_requested_at
        from pgqueue.jobs as job
        where job.id = outcome.id and job.lease = outcome.lease
        for no key update skip locked
    ) as job
),
changed as (
    update pgqueue.jobs as job
    set state = held.next_state,
        lease = job.lease + 1,
        attempt = job.attempt - held.refund,
        suspect = job.suspect and held.outcome is null,
        crash_count = job.crash_count + coalesce(held.crashed, 0),
        worker_id = case when held.next_state = 'ready' then null else job.worker_id end,
        run_at = case
            when held.next_state = 'ready'
                then clock_timestamp() + make_interval(secs => held.delay)
            else job.run_at
        end,
        finished_at = case when held.next_state = 'ready' then null else clock_timestamp() end
    from held
    where job.id = held.id
    returning job.id, job.state
),
recorded as (
    insert into pgqueue.attempts (
        job_id, lease, attempt, outcome, worker_id, worker, started_at,
        error_type, message, traceback, fingerprint
    )
    select
        held.id, held.lease, held.attempt,
        case when held.next_state = 'cancelled' then 'cancelled' else held.outcome end,
        held.worker_id, %(worker)s, held.started_at,
        held.error_type, held.message, held.traceback,
        -- As pgqueue.fingerprint.of, for what is no error of a handler's.
        coalesce(held.fingerprint, left(encode(sha256(convert_to(
            held.task || E'\n' || coalesce(held.error_type, held.outcome) || E'\n', 'UTF8'
        )), 'hex'), 16))
    from held
    where held.outcome is not null
)
select
    changed.id,
    case when changed.state <> 'ready' and exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', changed.id::text)
        from pgqueue.waits as wait
        where wait.job_id = changed.id
        limit 1
    ) end,
    changed.state = 'cancelled'
from changed
