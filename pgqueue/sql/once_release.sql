-- Gives an effect back whose function failed, so that the next caller runs it.
-- By: once. Locks: the effect.
delete from pgqueue.effects as effect
where effect.scope = %(scope)s::text
    and effect.key = %(key)s::text
    and effect.job_id = %(id)s::bigint
    and effect.lease = %(lease)s::bigint
    and effect.finished_at is null
returning effect.job_id
