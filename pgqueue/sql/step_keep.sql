-- Keeps the result of a job's step, under the job's lease.
-- By: a step, after its function. Locks: the job (shared, so that a rescue and this come one after
-- the other), then the checkpoint. No row back: the lease was lost, and nothing is kept.
with mine as materialized (
    select job.id
    from pgqueue.jobs as job
    where job.id = %(id)s::bigint and job.lease = %(lease)s::bigint
    for share
)
insert into pgqueue.checkpoints (job_id, name, lease, result)
select mine.id, %(name)s::text, %(lease)s::bigint, %(result)s::jsonb
from mine
on conflict (job_id, name) do nothing
returning job_id
