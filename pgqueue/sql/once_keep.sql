-- Keeps the result of an effect. The fence is the claim: whoever took it over has changed it, and
-- then no row comes back. A worker that lost its job and was not replaced yet may still say what
-- it has done: otherwise that would be done again.
-- By: once, after its function. Locks: the effect.
update pgqueue.effects as effect
set result = %(result)s::jsonb,
    finished_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(keep)s::float8)
where effect.scope = %(scope)s::text
    and effect.key = %(key)s::text
    and effect.job_id = %(id)s::bigint
    and effect.lease = %(lease)s::bigint
    and effect.finished_at is null
returning effect.job_id
