-- Wake who sleeps for the lanes (queue, priority) in which a COPY left jobs that are due.
-- By: enqueue.copy, once after the last COPY. Locks: none; NOTIFY takes a database-wide one at
-- commit, so it is sent only to queues in which a worker sleeps.
select pg_notify('pgqueue.' || lane.queue, lane.priority::text)
from jsonb_to_recordset(%(lanes)s::jsonb) as lane (queue text, priority smallint)
where exists (select from pgqueue.sleepers as sleeper where sleeper.queue = lane.queue)
