-- Claims due jobs for one worker: all its lanes (queue, priority) in one statement, in the order
-- given, at most `cap` a lane and `room` over all.
-- By: a worker's exchange. Locks: the rows it returns, skipping locked ones; no outer ORDER BY,
-- so that nothing else is locked. A worker whose row is gone was declared dead: it gets nothing.
-- Suspects are left to the cells (claim_suspect.sql), unless there is no supervisor to start one.
-- The floor is the pair last claimed in the lane, but never younger than a second ago, so that
-- short transactions that commit out of order are not passed over.
-- One clock: statement_timestamp() is when this statement came to the server.
update pgqueue.jobs as job
set state = 'running',
    lease = job.lease + 1,
    attempt = job.attempt + 1,
    worker_id = %(worker_id)s,
    started_at = statement_timestamp()
where job.id = any (
    array(
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
                    least(lane.floor_time, statement_timestamp() - interval '1 second'),
                    case
                        when lane.floor_time <= statement_timestamp() - interval '1 second'
                            then lane.floor_id
                        else 0
                    end
                )
                and job.run_at <= statement_timestamp()
                and (%(suspects)s or not job.suspect)
            order by job.run_at, job.id
            limit lane.cap
            for no key update skip locked
        ) as lane_job
        limit (select count(*) * %(room)s from pgqueue.workers where id = %(worker_id)s)
    )
)
returning
    job.id, job.lease, job.queue, job.task, job.version, job.priority, job.attempt,
    job.max_attempts, job.timeout, job.crash_count, job.suspect,
    coalesce(job.expires_at <= statement_timestamp(), false),
    job.args::text, job.meta::text, job.run_at
