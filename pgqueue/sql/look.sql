-- What a worker asks every two seconds, in one statement: which maintenance steps are its turn,
-- where due jobs stand in its queues as of how many seconds ago, and in how many the next is due.
-- By: every worker. Locks: the rows of the steps that are due, skipping locked ones, so that it
-- waits for nobody and of two workers one gets the turn; then rows of `lanes`, by their key.
-- A turn that lies ahead was taken by another clock, before a failover: it counts for nothing. Of
-- the turns that it takes, those are answered for which there is something to do.
-- Whose turn the probe is finds the true head of every lane without floors, and publishes what
-- changed: what landed below the floors (a long transaction, a row that was locked), new priorities,
-- and what has come due without a notification. It walks from lane to lane along the claim's index,
-- one step each. Who sleeps in these queues is notified, as by an enqueue.
-- All others read what was published.
with recursive due as materialized (
    select step.name
    from pgqueue.steps as step
    join unnest(%(names)s::text[], %(pauses)s::float8[]) as wanted (name, pause)
        on wanted.name = step.name
    where step.ran_at not between
        clock_timestamp() - make_interval(secs => wanted.pause) and clock_timestamp()
    for no key update of step skip locked
),
turn as materialized (
    update pgqueue.steps as step
    set ran_at = clock_timestamp()
    where step.name = any (array(select name from due))
    returning step.name
),
mine as materialized (
    select exists (select from turn where name = 'probe') as probe
),
lane as (
    (
        select queue, priority from pgqueue.jobs
        where state = 'ready' and (select probe from mine)
        order by queue, priority desc limit 1
    )
    union all
    select next.queue, next.priority
    from lane
    cross join lateral (
        (
            select job.queue, job.priority from pgqueue.jobs as job
            where job.state = 'ready' and job.queue = lane.queue and job.priority < lane.priority
            order by job.queue, job.priority desc limit 1
        )
        union all
        (
            select job.queue, job.priority from pgqueue.jobs as job
            where job.state = 'ready' and job.queue > lane.queue
            order by job.queue, job.priority desc limit 1
        )
        limit 1
    ) as next
),
front as materialized (
    select lane.queue, lane.priority, job.run_at, job.id, clock_timestamp() as seen_at
    from lane
    cross join lateral (
        select job.run_at, job.id
        from pgqueue.jobs as job
        where job.state = 'ready' and job.queue = lane.queue and job.priority = lane.priority
        order by job.run_at, job.id
        limit 1
    ) as job
),
emptied as (
    delete from pgqueue.lanes as old
    where (select probe from mine) and not exists (
        select from front
        where front.queue = old.queue and front.priority = old.priority
            and front.run_at <= front.seen_at
    )
),
published as (
    insert into pgqueue.lanes as old (queue, priority, head_at, head_id)
    select queue, priority, run_at, id from front where run_at <= seen_at order by queue, priority
    on conflict (queue, priority) do update
    set head_at = excluded.head_at, head_id = excluded.head_id
    where (old.head_at, old.head_id) is distinct from (excluded.head_at, excluded.head_id)
    returning old.queue, old.priority
)
select 'probed' as kind, null as name, null::smallint as priority, null::timestamptz as at,
    null::bigint as id,
    case when (select probe from mine) then 0.0 else (
        select extract(epoch from clock_timestamp() - step.ran_at)::float8
        from pgqueue.steps as step
        where step.name = 'probe'
    ) end as seconds
union all
select 'turn', turn.name, null, null, null, null
from turn
where case turn.name
    when 'expire' then exists (
        select from pgqueue.jobs as job
        where job.state = 'ready' and job.expires_at is not null
            and job.expires_at <= (select clock_timestamp())
    )
    when 'keys' then exists (select from pgqueue.idempotency_keys)
    when 'depths' then exists (select from pgqueue.queues where max_depth is not null)
    when 'effects' then
        exists (select from pgqueue.effects) or exists (select from pgqueue.checkpoints)
    when 'leftovers' then
        exists (select from pgqueue.waiters) or exists (select from pgqueue.progress)
    else turn.name <> 'probe'
end
union all
select 'head', front.queue, front.priority, front.run_at, front.id, null
from front
where front.run_at <= front.seen_at and front.queue = any (%(queues)s::text[])
union all
select 'head', lane.queue, lane.priority, lane.head_at, lane.head_id, null
from pgqueue.lanes as lane
where not (select probe from mine) and lane.queue = any (%(queues)s::text[])
union all
select
    'next', null, null, null, null,
    extract(epoch from min(front.run_at) - clock_timestamp())::float8
from front
where front.run_at > front.seen_at
having count(*) > 0
union all
select
    'told', pg_notify('pgqueue.' || published.queue, published.priority::text)::text,
    null, null, null, null
from published
where exists (select from pgqueue.sleepers as sleeper where sleeper.queue = published.queue)
union all
select 'echo', pg_notify('pgqueue_worker', '')::text, null, null, null, null
where %(echo)s
