-- What the table says this worker runs.
-- By: a worker's exchange, after every reconnect and every few seconds. Locks: none.
select job.id, job.lease, job.cancel_requested_at is not null
from pgqueue.jobs as job
where job.state = 'running' and job.worker_id = %(worker_id)s
