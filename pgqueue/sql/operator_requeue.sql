-- Makes ended jobs ready again, with all their attempts, and wakes sleeping workers.
-- By: requeue. Locks: none that it does not hold.
-- The past stays in `attempts`, and the requeue itself is a row there, under the lease of the final
-- state: an attempt never has that one, it has the lease before. A lapsed expires_at would end the
-- job again at once. With `spread` each is due at a random moment within so many seconds.
with recorded as (
    -- Every part sees the jobs as they stood before. A row written by hand must not stop a requeue.
    insert into pgqueue.attempts (job_id, lease, attempt, outcome, actor)
    select id, lease, attempt, 'requeued', coalesce(%(actor)s::text, current_user)
    from pgqueue.jobs
    where id = any (%(ids)s::bigint[])
    on conflict do nothing
),
requeued as (
    update pgqueue.jobs
    set state = 'ready',
        lease = lease + 1,
        attempt = 0,
        crash_count = 0,
        suspect = false,
        worker_id = null,
        run_at = clock_timestamp() + random() * make_interval(secs => %(spread)s::double precision),
        expires_at = case
            when expires_at
                > clock_timestamp() + make_interval(secs => %(spread)s::double precision)
                then expires_at
        end,
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
    and %(spread)s::double precision = 0
