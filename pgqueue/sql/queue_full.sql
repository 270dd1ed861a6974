-- How deep a queue is and may be, if it is full.
-- By: producers that wait for room. Locks: none.
select depth, max_depth
from pgqueue.queues
where name = %(name)s and is_full
