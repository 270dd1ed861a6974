-- The job that a test runs next: among those that are due the best, in the order of workers; else
-- the one that is due first, and in how many seconds.
-- By: pgqueue.testing, in the test's own transaction. Locks: none.
with clock as materialized (select clock_timestamp() as now)
select
    job.id,
    job.queue,
    job.priority,
    greatest(extract(epoch from job.run_at - clock.now), 0)::double precision as due_in
from pgqueue.jobs as job
cross join clock
where job.state = 'ready'
    and (%(only)s::bigint is null or job.id = %(only)s::bigint)
    and (%(queue)s::text is null or job.queue = %(queue)s::text)
    and job.id <> all (%(passed)s::bigint[])
order by
    job.run_at > clock.now,
    case when job.run_at <= clock.now then -job.priority end,
    job.run_at,
    job.id
limit 1
