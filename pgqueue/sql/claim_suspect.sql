-- Claims one due suspect of any lane of the queues, the best first, to be run alone in a process.
-- By: the exchange of a worker that is a cell. Locks: the row it returns, skipping locked ones. A
-- worker whose row is gone was declared dead: it gets nothing.
with picked as materialized (
    select job.id
    from pgqueue.jobs as job
    where job.state = 'ready'
        and job.suspect
        and job.queue = any (%(queues)s::text[])
        and job.run_at <= clock_timestamp()
        and exists (select from pgqueue.workers where id = %(worker_id)s)
    order by job.priority desc, job.run_at, job.id
    limit 1
    for no key update skip locked
)
update pgqueue.jobs as job
set state = 'running',
    lease = job.lease + 1,
    attempt = job.attempt + 1,
    worker_id = %(worker_id)s,
    started_at = clock_timestamp()
where job.id = any (array(select id from picked))
returning
    job.id, job.lease, job.queue, job.task, job.version, job.priority, job.attempt,
    job.max_attempts, job.timeout, job.crash_count, job.suspect,
    coalesce(job.expires_at <= clock_timestamp(), false),
    job.args::text, job.meta::text, job.run_at
