-- Cancels jobs that nobody runs.
-- By: cancel. Locks: none that it does not hold.
update pgqueue.jobs
set state = 'cancelled',
    lease = lease + 1,
    cancel_requested_at = clock_timestamp(),
    finished_at = clock_timestamp()
where id = any (%(ids)s::bigint[])
