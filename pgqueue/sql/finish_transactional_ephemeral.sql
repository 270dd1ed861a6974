-- Records the success of one job of an ephemeral task inside the handler's own transaction: it is
-- deleted, under its lease.
-- By: an executor, right before the COMMIT. Locks: the job, then its key, if nobody has that. No
-- row back: the lease was lost, and the transaction must roll back.
with held as materialized (
    select job.id
    from pgqueue.jobs as job
    where job.id = %(id)s::bigint and job.lease = %(lease)s::bigint
    for update
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
