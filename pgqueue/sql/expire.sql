-- Ends jobs that nobody started in time.
-- By: one worker for all. Locks: the jobs, skipping locked ones, so that their order is free; at
-- most 1000.
with picked as materialized (
    select job.id
    from pgqueue.jobs as job
    where job.state = 'ready' and job.expires_at is not null
        and job.expires_at <= (select clock_timestamp())
    order by job.expires_at
    limit 1000
    for no key update skip locked
)
update pgqueue.jobs as job
set state = 'expired', lease = job.lease + 1, finished_at = clock_timestamp()
where job.id = any (array(select id from picked))
returning
    job.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', job.id::text)
        from pgqueue.waits as wait
        where wait.job_id = job.id
        limit 1
    ) end
