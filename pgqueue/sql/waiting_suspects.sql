-- How many suspects wait for a cell, counted up to `most`: those that are due, or will be when a
-- process has started.
-- By: the supervisor, after a burial and every few seconds. Locks: none.
select count(*)
from (
    select from pgqueue.jobs as job
    where job.state = 'ready'
        and job.suspect
        and job.queue = any (%(queues)s::text[])
        and job.run_at <= clock_timestamp() + interval '1.5 seconds'
    limit %(most)s
) as waiting
