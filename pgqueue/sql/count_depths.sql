-- Counts the due jobs of every queue that has a limit, up to that limit, and says which are full.
-- By: one worker for all, about once a second. Locks: rows of `queues`, by name.
-- A full queue has room again at four fifths of its limit, so that it does not flap.
-- It counts along the claim's index, from lane to lane (queue, priority) as the last probe found
-- them, each from its head on: what was claimed before stands in front of it and is not walked.
with counted as materialized (
    select queue.name, queue.is_full as was_full, (
        select count(*)
        from (
            select
            from pgqueue.lanes as lane
            cross join lateral (
                select
                from pgqueue.jobs as job
                where job.state = 'ready'
                    and job.queue = lane.queue
                    and job.priority = lane.priority
                    and (job.run_at, job.id) >= (lane.head_at, lane.head_id)
                    and job.run_at <= (select clock_timestamp())
                order by job.run_at, job.id
                limit queue.max_depth + 1
            ) as due
            where lane.queue = queue.name
            limit queue.max_depth + 1
        ) as found
    ) as depth
    from pgqueue.queues as queue
    where queue.max_depth is not null
    order by queue.name
    for no key update
)
update pgqueue.queues as queue
set depth = counted.depth,
    is_full = counted.depth >= queue.max_depth
        or (queue.is_full and counted.depth > queue.max_depth * 0.8),
    counted_at = clock_timestamp()
from counted
where queue.name = counted.name
returning
    queue.name, queue.depth, queue.max_depth, queue.is_full, counted.was_full
