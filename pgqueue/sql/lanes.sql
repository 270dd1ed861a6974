-- The heads that the last probe published, for this worker's queues.
-- By: every worker. Locks: none.
select queue, priority, head_at, head_id
from pgqueue.lanes
where queue = any (%(queues)s::text[])
