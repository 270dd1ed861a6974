-- Deletes locked idempotency keys that nobody holds, and notes where the sweep goes on.
-- By: one worker for all, in the transaction of keys_lock. Locks: the step's row.
-- A statement of its own sees the job of a key that was taken over just before it was locked.
with gone as (
    delete from pgqueue.idempotency_keys as held
    using unnest(%(scopes)s::text[], %(keys)s::text[]) as free (scope, key)
    where held.scope = free.scope and held.key = free.key
        and not (
            select pgqueue.key_is_held(
                held.expires_at, held.until, job.state, job.attempt, clock_timestamp()
            )
            from (select held.job_id as id) as named
            left join pgqueue.jobs as job on job.id = named.id
        )
    returning held.job_id
),
noted as (
    update pgqueue.steps set place = %(place)s::jsonb where name = %(name)s
)
select count(*) from gone
