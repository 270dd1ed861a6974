-- Arms queues for a worker that is about to sleep: from its commit on, enqueues notify.
-- By: a worker's exchange, only when its idleness changes. Locks: its own rows.
insert into pgqueue.sleepers (queue, worker_id)
select queue, %(worker_id)s
from unnest(%(queues)s::text[]) as queue
where exists (select from pgqueue.workers where id = %(worker_id)s)
on conflict do nothing
