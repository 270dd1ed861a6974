-- The queues that have settings, and when they were counted, in seconds ago.
-- By: whoever lists queues, inspection. Locks: none.
select
    name, max_depth, depth, is_full,
    extract(epoch from clock_timestamp() - counted_at)::float8
from pgqueue.queues
order by name
