-- How many dead jobs there are, counted up to `cap`, and for how many seconds the oldest of those
-- has been dead.
-- By: one worker for all, once an hour; inspection. Locks: none. Of jobs that ended badly the
-- oldest by id are looked at, no more than `reach`.
select count(*), extract(epoch from clock_timestamp() - min(dead.finished_at))::float8
from (
    select ended.finished_at
    from (
        select job.id, job.state, job.finished_at
        from pgqueue.jobs as job
        where job.state in ('dead', 'cancelled', 'expired')
        order by job.id
        limit %(reach)s
    ) as ended
    where ended.state = 'dead'
    limit %(cap)s
) as dead
