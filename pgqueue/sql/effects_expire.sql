-- Deletes effects whose time is over, and claims that were left behind an hour ago or more.
-- By: one worker for all. Locks: effects, skipping locked ones, so that it waits for nobody.
with over as materialized (
    select effect.scope, effect.key
    from pgqueue.effects as effect
    where effect.expires_at <= (select clock_timestamp())
    order by effect.expires_at
    limit %(size)s
    for update skip locked
),
left_behind as materialized (
    select effect.scope, effect.key
    from pgqueue.effects as effect
    where effect.finished_at is null
        and effect.claimed_at < (select clock_timestamp()) - interval '1 hour'
        and not exists (
            select from pgqueue.jobs as holder
            where holder.id = effect.job_id and holder.lease = effect.lease
        )
    order by effect.claimed_at
    limit %(size)s
    for update skip locked
),
gone as (
    delete from pgqueue.effects as effect
    using (select * from over union all select * from left_behind) as ended
    where effect.scope = ended.scope and effect.key = ended.key
    returning effect.job_id
)
select count(*) from gone
