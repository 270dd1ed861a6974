-- Records the success of one job inside the handler's own transaction, under its lease.
-- By: an executor, right before the COMMIT. Locks: the job. No row back: the lease was lost, and
-- the transaction must roll back.
update pgqueue.jobs as job
set state = 'succeeded',
    lease = job.lease + 1,
    finished_at = clock_timestamp(),
    result = %(result)s::jsonb
where job.id = %(id)s::bigint and job.lease = %(lease)s::bigint
returning
    job.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', job.id::text)
        from pgqueue.waits as wait
        where wait.job_id = job.id
        limit 1
    ) end
