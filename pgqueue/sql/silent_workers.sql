-- The workers to bury: those whose heartbeat is older than their time-to-live, and those that
-- hold jobs although their row is gone. One row more, without an id, says in how many seconds the
-- next of the others will be silent for too long if it does not beat until then.
-- By: the rescue step. Locks: none; burying checks again.
with recursive holder as (
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
select id, null::float8 from pgqueue.workers where heartbeat_at < clock_timestamp() - ttl
union all
select worker_id, null from holder
where not exists (select from pgqueue.workers where id = holder.worker_id)
union all
select null, extract(epoch from min(heartbeat_at + ttl) - clock_timestamp())
from pgqueue.workers
where heartbeat_at >= clock_timestamp() - ttl
