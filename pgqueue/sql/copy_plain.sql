-- As copy_jobs.sql, for jobs that are due at once and whose other options are defaults.
-- By: enqueue.copy. Locks: the new rows alone.
copy pgqueue.jobs (task, queue, args) from stdin with (format text, encoding 'UTF8')
