-- Where jobs stand, and of those that have ended what came of it: the result as text, or the error
-- of the last attempt. A job that is not in the answer does not exist.
-- By: a process that waits. Locks: none.
select
    job.id, job.state, job.task, job.result::text,
    last.error_type, last.message, last.traceback
from pgqueue.jobs as job
left join lateral (
    select attempt.error_type, attempt.message, attempt.traceback
    from pgqueue.attempts as attempt
    where attempt.job_id = job.id and attempt.outcome <> 'requeued'
        and job.state in ('dead', 'cancelled', 'expired')
    order by attempt.lease desc
    limit 1
) as last on true
where job.id = any (%(ids)s::bigint[])
