-- The workers, oldest first.
-- By: inspection. Locks: none.
select
    id, name, hostname, pid, version, queues, concurrency, threads, children, started_at,
    extract(epoch from clock_timestamp() - heartbeat_at)::float8,
    heartbeat_at > clock_timestamp() - ttl
from pgqueue.workers
order by id
