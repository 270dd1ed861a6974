-- Running jobs by queue and worker.
-- By: inspection. Locks: none.
select found.queue, found.worker_id, count(*)
from (
    select queue, worker_id from pgqueue.jobs where state = 'running' limit %(cap)s
) as found
group by found.queue, found.worker_id
