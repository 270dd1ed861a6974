-- Takes jobs from a worker that was buried: back to ready, the attempt given back.
-- By: whoever buried it. Locks: the jobs, skipping locked ones, so that their order is free; call
-- again until it returns nothing.
-- `started` are the jobs known to have started there; null when nobody saw it die. A job that had
-- not started goes back without a trace. The culprit is blamed (crash_count), all others are not;
-- without one, jobs that had started become suspects, and are run one at a time from then on.
-- Unseen, a job becomes a suspect when a worker was lost under it for the second time.
-- Plans: as `exists` the look into `attempts` becomes a hash of the whole table; a `state` in the
-- update's condition makes it walk all running jobs for each one picked.
with picked as materialized (
    select
        job.id, job.lease, job.task, job.attempt, job.started_at, job.crash_count,
        job.id is not distinct from %(culprit)s as blamed,
        coalesce(job.id = any (%(started)s::bigint[]), true) as had_started,
        case
            when %(culprit)s is not null or %(intended)s then job.suspect
            when %(started)s::bigint[] is not null then job.id = any (%(started)s::bigint[])
            else (
                select true from pgqueue.attempts as attempt
                where attempt.job_id = job.id and attempt.outcome = 'rescued'
                limit 1
            )
        end is true as suspected
    from pgqueue.jobs as job
    where job.state = 'running' and job.worker_id = %(worker_id)s
    limit 500
    for no key update skip locked
),
changed as (
    update pgqueue.jobs as job
    set state = case
            when job.cancel_requested_at is not null then 'cancelled'
            when picked.blamed and picked.crash_count + 1 >= %(crash_cap)s then 'dead'
            else 'ready'
        end,
        lease = job.lease + 1,
        attempt = job.attempt - 1,
        crash_count = job.crash_count + picked.blamed::integer,
        suspect = job.suspect or picked.suspected or picked.blamed,
        run_at = clock_timestamp()
            + case when picked.blamed then interval '1 second' else interval '0' end,
        worker_id = null,
        finished_at = case
            when job.cancel_requested_at is not null
                or (picked.blamed and picked.crash_count + 1 >= %(crash_cap)s)
                then clock_timestamp()
        end
    from picked
    where job.id = picked.id
    returning
        job.id, job.state, job.crash_count,
        picked.lease, picked.task, picked.attempt, picked.started_at, picked.blamed,
        picked.had_started
),
recorded as (
    insert into pgqueue.attempts (
        job_id, lease, attempt, outcome, worker_id, worker, started_at, error_type, message,
        fingerprint
    )
    select
        id, lease, attempt,
        case
            when state in ('dead', 'cancelled') then state
            when %(intended)s then 'interrupted'
            else 'rescued'
        end,
        %(worker_id)s, %(worker)s, started_at,
        case when blamed then 'crashed' end,
        case
            when blamed
                then format('its worker process died while it ran (%%s of %%s)',
                            crash_count, %(crash_cap)s::integer)
            when %(intended)s then 'its worker was stopped at once'
            else 'its worker was lost'
        end,
        -- As pgqueue.fingerprint.of: of a crash, of a kill on purpose, of a lost worker.
        left(encode(sha256(convert_to(
            task || E'\n'
                || case when blamed then 'crashed' when %(intended)s then 'interrupted'
                    else 'rescued' end
                || E'\n',
            'UTF8'
        )), 'hex'), 16)
    from changed
    where had_started or blamed
)
select
    changed.id,
    changed.state,
    case when changed.state <> 'ready' and exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', changed.id::text)
        from pgqueue.waits as wait
        where wait.job_id = changed.id
        limit 1
    ) end
from changed
