-- A process waits for nothing any more; its waits go with it.
-- By: a process that waited. Locks: its own rows.
delete from pgqueue.waiters where id = %(waiter_id)s
