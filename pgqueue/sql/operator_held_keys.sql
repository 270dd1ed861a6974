-- Which of these keys, locked before, are held now.
-- By: requeue. Locks: none.
select held.scope, held.key
from pgqueue.idempotency_keys as held
left join pgqueue.jobs as job on job.id = held.job_id
where (held.scope, held.key) in (
        select wanted.scope, wanted.key
        from unnest(%(scopes)s::text[], %(keys)s::text[]) as wanted (scope, key)
    )
    and pgqueue.key_is_held(
        held.expires_at, held.until, job.state, job.attempt, clock_timestamp()
    )
