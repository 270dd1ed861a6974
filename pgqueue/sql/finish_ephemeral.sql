-- Records the success of jobs of ephemeral tasks: they are deleted, each under its lease.
-- By: a worker's exchange. Locks: the jobs, in the order given (by id), and their keys, skipping
-- locked ones. Returns what was recorded, as finish_succeeded.sql does.
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
        for update skip locked
    ) as job
),
gone as materialized (
    select pgqueue.remove_jobs(array(select id from held)) where exists (select from held)
)
select
    held.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', held.id::text)
        from pgqueue.waits as wait
        where wait.job_id = held.id
        limit 1
    ) end
from held cross join gone
