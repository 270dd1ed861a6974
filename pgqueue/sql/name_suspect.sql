-- Says which suspect this worker runs from now on, or null for none: who to blame should it die.
-- By: a worker's exchange, before the suspect starts. Locks: the worker's row.
update pgqueue.workers set suspect_id = %(job_id)s where id = %(worker_id)s
