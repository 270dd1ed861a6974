-- Every lane (queue, priority) with ready jobs: how many are due, how many wait, and for how many
-- seconds the first has been due. Counts stop at `cap`.
-- By: inspection. Locks: none. It walks from lane to lane along the claim's index.
with recursive clock as materialized (
    select clock_timestamp() as now
),
lane as (
    (
        select queue, priority from pgqueue.jobs
        where state = 'ready' order by queue, priority desc limit 1
    )
    union all
    select next.queue, next.priority
    from lane
    cross join lateral (
        (
            select job.queue, job.priority from pgqueue.jobs as job
            where job.state = 'ready' and job.queue = lane.queue and job.priority < lane.priority
            order by job.queue, job.priority desc limit 1
        )
        union all
        (
            select job.queue, job.priority from pgqueue.jobs as job
            where job.state = 'ready' and job.queue > lane.queue
            order by job.queue, job.priority desc limit 1
        )
        limit 1
    ) as next
)
select lane.queue, due.jobs, waiting.jobs, due.seconds
from lane
cross join clock
cross join lateral (
    select count(*) as jobs, extract(epoch from clock.now - min(found.run_at))::float8 as seconds
    from (
        select job.run_at from pgqueue.jobs as job
        where job.state = 'ready' and job.queue = lane.queue and job.priority = lane.priority
            and job.run_at <= clock.now
        order by job.run_at, job.id limit %(cap)s
    ) as found
) as due
cross join lateral (
    select count(*) as jobs
    from (
        select from pgqueue.jobs as job
        where job.state = 'ready' and job.queue = lane.queue and job.priority = lane.priority
            and job.run_at > clock.now
        order by job.run_at, job.id limit %(cap)s
    ) as found
) as waiting
