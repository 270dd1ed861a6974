-- Deletes final jobs, their attempts, progress, checkpoints and keys; a key whose window is open
-- stays.
-- By: delete. Locks: rows of jobs and keys that it holds already.
with said as (
    delete from pgqueue.progress where job_id = any (%(ids)s::bigint[])
),
attempt as (
    delete from pgqueue.attempts where job_id = any (%(ids)s::bigint[])
),
checkpoint as (
    delete from pgqueue.checkpoints where job_id = any (%(ids)s::bigint[])
),
freed as (
    delete from pgqueue.idempotency_keys as held
    using pgqueue.jobs as job
    where job.id = any (%(ids)s::bigint[])
        and held.scope = coalesce(job.key_scope, job.task)
        and held.key = job.key
        and held.job_id = job.id
        and (held.until is not null or held.expires_at <= clock_timestamp())
)
delete from pgqueue.jobs where id = any (%(ids)s::bigint[])
