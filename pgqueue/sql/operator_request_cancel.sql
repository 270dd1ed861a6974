-- Asks the workers of running jobs to cancel them, and wakes these workers.
-- By: cancel. Locks: none that it does not hold.
with requested as (
    update pgqueue.jobs
    set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
    where id = any (%(ids)s::bigint[])
    returning worker_id
)
select pg_notify('pgqueue_worker', worker_id::text)
from (select distinct worker_id from requested) as worker
