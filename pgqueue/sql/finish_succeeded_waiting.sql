-- Records the success of jobs as finish_succeeded.sql does, but waits for locked rows, up to the
-- lock timeout: it looks each row up once and not twice. For the flow of a busy worker, which goes
-- over to the other when it had to wait in vain.
-- By: a worker's exchange. Locks: the jobs, in the order given (by id).
update pgqueue.jobs as job
set state = 'succeeded',
    lease = job.lease + 1,
    finished_at = clock_timestamp(),
    result = case
        when %(results)s::jsonb is not null then %(results)s::jsonb -> job.id::text
    end
from unnest(%(ids)s::bigint[], %(leases)s::bigint[]) as outcome (id, lease)
where job.id = outcome.id and job.lease = outcome.lease
returning
    job.id,
    case when exists (select from pgqueue.waiters) then (
        select pg_notify('pgqueue_finished', job.id::text)
        from pgqueue.waits as wait
        where wait.job_id = job.id
        limit 1
    ) end
