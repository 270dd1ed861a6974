-- Disarms a worker's queues. By: a worker's exchange. Locks: its own rows.
delete from pgqueue.sleepers where worker_id = %(worker_id)s
