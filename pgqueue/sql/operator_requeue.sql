-- Makes ended jobs ready again, with all their attempts, and wakes sleeping workers.
-- By: requeue. Locks: none that it does not hold.
-- The past stays in `attempts`; a lapsed expires_at would end the job again at once.
with requeued as (
    update pgqueue.jobs
    set state = 'ready',
        lease = lease + 1,
        attempt = 0,
        crash_count = 0,
        suspect = false,
        worker_id = null,
        run_at = clock_timestamp(),
        expires_at = case when expires_at > clock_timestamp() then expires_at end,
        cancel_requested_at = null,
        started_at = null,
        finished_at = null,
        result = null
    where id = any (%(ids)s::bigint[])
    returning queue, priority
)
select pg_notify('pgqueue.' || lane.queue, lane.priority::text)
from (select distinct queue, priority from requeued) as lane
where exists (select from pgqueue.sleepers where sleepers.queue = lane.queue)
