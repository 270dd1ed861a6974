-- Whether a worker's row is still there. By: the rescue step. Locks: none.
select exists (select from pgqueue.workers where id = %(worker_id)s)
