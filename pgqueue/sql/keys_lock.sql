-- The next part of the sweep of idempotency keys: locks those that nobody holds, and names them,
-- the last key of the part, and how many it had.
-- By: one worker for all. Locks: key rows, skipping locked ones, so that it waits for nobody.
with place as (
    select place from pgqueue.steps where name = %(name)s
),
part as materialized (
    select held.scope, held.key
    from pgqueue.idempotency_keys as held
    where (held.scope, held.key) > (
        coalesce((select place ->> 'scope' from place), ''),
        coalesce((select place ->> 'key' from place), '')
    )
    order by held.scope, held.key
    limit %(size)s
),
free as materialized (
    select held.scope, held.key
    from part
    join pgqueue.idempotency_keys as held using (scope, key)
    left join pgqueue.jobs as job on job.id = held.job_id
    where not pgqueue.key_is_held(
        held.expires_at, held.until, job.state, job.attempt, (select clock_timestamp())
    )
    for update of held skip locked
)
select
    array(select scope from free order by scope, key),
    array(select key from free order by scope, key),
    (
        select jsonb_build_object('scope', scope, 'key', key)::text
        from part order by scope desc, key desc limit 1
    ),
    (select count(*) from part)
