-- Says that a process that waits is alive.
-- By: a process that waits, once a minute. Locks: its own row.
update pgqueue.waiters
set expires_at = clock_timestamp() + %(seconds)s * interval '1 second'
where id = %(waiter_id)s
