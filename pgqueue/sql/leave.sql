-- A worker that stopped clean takes itself off the list; it holds no jobs any more.
-- By: a worker at its end. Locks: its own rows.
with gone as (
    delete from pgqueue.workers where id = %(worker_id)s
)
delete from pgqueue.sleepers where worker_id = %(worker_id)s
