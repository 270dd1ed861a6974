-- Whether a job is still held under a lease, and how an effect stands: `done`, `busy` (its holder
-- still has its job), or `free` (nobody has begun it, it is over, or its holder lost the job before
-- it was done); the result, and the holder's job. No row back: the job is gone.
-- By: once. Locks: none.
select
    job.lease = %(lease)s::bigint,
    case
        when effect.key is null or effect.expires_at <= clock_timestamp() then 'free'
        when effect.finished_at is not null then 'done'
        when exists (
            select from pgqueue.jobs as holder
            where holder.id = effect.job_id and holder.lease = effect.lease
        ) then 'busy'
        else 'free'
    end,
    effect.result::text,
    effect.job_id
from pgqueue.jobs as job
left join pgqueue.effects as effect
    on effect.scope = %(scope)s::text and effect.key = %(key)s::text
where job.id = %(id)s::bigint
