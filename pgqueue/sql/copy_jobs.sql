-- Jobs without keys, a line each, in the form of enqueue.copy.
-- By: enqueue.copy. Locks: the new rows alone.
copy pgqueue.jobs (
    task, queue, priority, max_attempts, timeout, version, created_at, run_at, expires_at, meta, args
) from stdin with (format text, encoding 'UTF8')
