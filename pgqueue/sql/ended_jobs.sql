-- Reads jobs that ended without a worker, for the hooks that are told of them.
-- By: the hooks' thread of one worker. Locks: none.
-- A rescue gives the attempt back, so the number of the last one stands in `attempts`.
select
    job.state, job.id, job.task, job.queue,
    case when job.state = 'dead' then coalesce(last.attempt, job.attempt) else job.attempt end,
    job.max_attempts, job.args::text, job.meta::text, last.error_type, last.message
from pgqueue.jobs as job
left join lateral (
    select attempt.attempt, attempt.error_type, attempt.message
    from pgqueue.attempts as attempt
    where attempt.job_id = job.id and attempt.outcome <> 'requeued'
    order by attempt.lease desc
    limit 1
) as last on true
where job.id = any (%(ids)s::bigint[]) and job.state in ('dead', 'expired')
order by job.id
