-- Records the success of jobs, each under its lease and nothing else.
-- By: a worker's exchange. Locks: the jobs, in the order given (by id), skipping locked ones:
-- those come again with the next exchange. Returns what was recorded; a job that is missing in
-- the answer is locked by somebody, or its lease was lost.
-- `results` is one JSON object by job id, or null when no job has a result.
-- The arrays come out of selects, so that the planner does not see how short they are: else a plan
-- for one job looks cheaper than the plan for any number, and each such finish is planned anew.
with outcome as materialized (
    select *
    from unnest((select %(ids)s::bigint[]), (select %(leases)s::bigint[])) as outcome (id, lease)
),
held as materialized (
    select job.id
    from outcome
    cross join lateral (
        select job.id
        from pgqueue.jobs as job
        where job.id = outcome.id and job.lease = outcome.lease
        for no key update skip locked
    ) as job
)
update pgqueue.jobs as job
set state = 'succeeded',
    lease = job.lease + 1,
    finished_at = clock_timestamp(),
    result = case
        when %(results)s::jsonb is not null then %(results)s::jsonb -> job.id::text
    end
where job.id = any (array(select id from held))
returning
    job.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', job.id::text)
        from pgqueue.waits as wait
        where wait.job_id = job.id
        limit 1
    ) end
