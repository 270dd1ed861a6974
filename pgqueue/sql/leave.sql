-- A worker that stopped clean takes itself off the list; it holds no jobs any more.
-- By: a worker at its end. Locks: its own row, and those of its queues in `sleepers`.
delete from pgqueue.workers where id = %(worker_id)s
