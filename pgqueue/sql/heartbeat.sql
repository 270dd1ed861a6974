-- One beat for all workers of a supervisor, and what there is to know of others:
-- `beat`: the workers it counts for. One that is missing was declared dead by somebody else.
-- `silent`: the workers to bury: those whose heartbeat is older than their time-to-live, and those
-- that hold jobs although their row is gone.
-- `next`: in how many seconds the next of the others will be silent for too long if it does not
-- beat until then.
-- `suspects`: how many wait for a cell, as in waiting_suspects.sql.
-- By: the supervisor. Locks: the workers it beats for, by id; burying checks again.
with recursive beat as (
    update pgqueue.workers as worker
    set heartbeat_at = clock_timestamp()
    where worker.id = any (
        array(
            select id from pgqueue.workers where id = any (%(ids)s::bigint[]) order by id
            for no key update
        )
    )
    returning worker.id
),
other as materialized (
    select worker.id, worker.heartbeat_at + worker.ttl - clock_timestamp() as lives
    from pgqueue.workers as worker
    where worker.id <> all (%(ids)s::bigint[])
),
holder as (
    (
        select worker_id from pgqueue.jobs
        where state = 'running' order by worker_id limit 1
    )
    union all
    select next.worker_id
    from holder
    cross join lateral (
        select worker_id from pgqueue.jobs
        where state = 'running' and worker_id > holder.worker_id order by worker_id limit 1
    ) as next
)
select 'beat' as kind, beat.id, null::float8 as number
from beat
union all
select 'silent', other.id, null
from other
where other.lives < interval '0'
union all
select 'silent', holder.worker_id, null
from holder
where not exists (select from pgqueue.workers as worker where worker.id = holder.worker_id)
union all
select 'next', null, extract(epoch from min(other.lives))
from other
where other.lives >= interval '0'
union all
select 'suspects', null, count(*)
from (
    select from pgqueue.jobs as job
    where job.state = 'ready'
        and job.suspect
        and job.queue = any (%(queues)s::text[])
        and job.run_at <= clock_timestamp() + interval '1.5 seconds'
    limit %(most)s
) as waiting
