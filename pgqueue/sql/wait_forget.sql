-- Says that a process waits for these jobs no more.
-- By: a process that waited. Locks: its own rows.
delete from pgqueue.waits where waiter_id = %(waiter_id)s and job_id = any (%(ids)s::bigint[])
