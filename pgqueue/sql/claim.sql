-- Claims due jobs for one worker: all its lanes (queue, priority) in one statement, in the order
-- given, at most `cap` a lane and `room` over all.
-- By: a worker's exchange. Locks: the rows it returns, skipping locked ones; no outer ORDER BY,
-- so that nothing else is locked. A worker whose row is gone was declared dead: it gets nothing.
-- Suspects are left to the cells (claim_suspect.sql), unless there is no supervisor to start one.
-- The floor is the pair last claimed in the lane, but never younger than a second ago, so that
-- short transactions that commit out of order are not passed over.
with clock as materialized (
    select clock_timestamp() as now, clock_timestamp() - interval '1 second' as horizon
),
picked as materialized (
    select lane_job.id
    from unnest(
        %(queues)s::text[], %(priorities)s::smallint[], %(floor_times)s::timestamptz[],
        %(floor_ids)s::bigint[], %(caps)s::integer[]
    ) as lane (queue, priority, floor_time, floor_id, cap)
    cross join lateral (
        select job.id
        from pgqueue.jobs as job
        where job.state = 'ready'
            and job.queue = lane.queue
            and job.priority = lane.priority
            and (job.run_at, job.id) > (
                least(lane.floor_time, (select horizon from clock)),
                case when lane.floor_time <= (select horizon from clock) then lane.floor_id else 0 end
            )
            and job.run_at <= (select now from clock)
            and (%(suspects)s or not job.suspect)
        order by job.run_at, job.id
        limit lane.cap
        for no key update skip locked
    ) as lane_job
    where exists (select from pgqueue.workers where id = %(worker_id)s)
    limit %(room)s
)
update pgqueue.jobs as job
set state = 'running',
    lease = job.lease + 1,
    attempt = job.attempt + 1,
    worker_id = %(worker_id)s,
    started_at = (select now from clock)
where job.id = any (array(select id from picked))
returning
    job.id, job.lease, job.queue, job.task, job.version, job.priority, job.attempt,
    job.max_attempts, job.timeout, job.crash_count, job.suspect,
    coalesce(job.expires_at <= (select now from clock), false),
    job.args::text, job.meta::text, job.run_at
