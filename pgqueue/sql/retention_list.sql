-- How long jobs are kept after their end, in seconds; null: for ever.
-- By: whoever lists it, inspection. Locks: none.
select task, state, extract(epoch from keep)::float8, set_by
from pgqueue.retention
order by task, state
