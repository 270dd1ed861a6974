-- Gives a job that was requeued just now other arguments, and keeps the old ones with the requeue.
-- By: requeue with new arguments. Locks: none that it does not hold.
with edited as (
    update pgqueue.jobs
    set args = %(args)s::jsonb, version = %(version)s
    where id = %(id)s
)
update pgqueue.attempts as attempt
set message = %(note)s, old_args = job.args
from pgqueue.jobs as job
where job.id = %(id)s
    and attempt.job_id = job.id and attempt.lease = job.lease - 1 and attempt.outcome = 'requeued'
