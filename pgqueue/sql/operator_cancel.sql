-- Cancels jobs that nobody runs.
-- By: cancel. Locks: none that it does not hold.
update pgqueue.jobs as job
set state = 'cancelled',
    lease = lease + 1,
    cancel_requested_at = clock_timestamp(),
    finished_at = clock_timestamp()
where id = any (%(ids)s::bigint[])
returning
    job.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', job.id::text)
        from pgqueue.waits as wait
        where wait.job_id = job.id
        limit 1
    ) end
