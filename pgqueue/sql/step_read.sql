-- Whether a job is still held under a lease, and the kept result of one of its steps.
-- By: a step, before it runs its function. Locks: none. No row back: the job is gone.
select
    job.lease = %(lease)s::bigint,
    checkpoint.job_id is not null,
    checkpoint.result::text
from pgqueue.jobs as job
left join pgqueue.checkpoints as checkpoint
    on checkpoint.job_id = job.id and checkpoint.name = %(name)s::text
where job.id = %(id)s::bigint
