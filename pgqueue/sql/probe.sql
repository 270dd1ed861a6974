-- Finds the true head of every lane that has due jobs, without floors, and publishes the changes:
-- what landed below the floors (a long transaction, a row that was locked) and new priorities.
-- By: one worker for all, on its maintenance connection. Locks: an advisory one, so that a slow
-- probe never meets the next (they would do the same work, and could deadlock): who does not get it
-- does nothing; then rows of `lanes`, by their key.
-- It walks from lane to lane along the claim's index, one step each.
with recursive turn as materialized (
    select pg_try_advisory_xact_lock(hashtextextended('pgqueue.probe', 0)) as mine
),
lane as (
    (
        select queue, priority from pgqueue.jobs
        where state = 'ready' and (select mine from turn)
        order by queue, priority desc limit 1
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
),
head as materialized (
    select lane.queue, lane.priority, job.run_at, job.id
    from lane
    cross join lateral (
        select job.run_at, job.id
        from pgqueue.jobs as job
        where job.state = 'ready' and job.queue = lane.queue and job.priority = lane.priority
        order by job.run_at, job.id
        limit 1
    ) as job
    where job.run_at <= clock_timestamp()
),
emptied as (
    delete from pgqueue.lanes as old
    where (select mine from turn) and not exists (
        select from head where head.queue = old.queue and head.priority = old.priority
    )
)
insert into pgqueue.lanes as old (queue, priority, head_at, head_id)
select queue, priority, run_at, id from head order by queue, priority
on conflict (queue, priority) do update
set head_at = excluded.head_at, head_id = excluded.head_id
where (old.head_at, old.head_id) is distinct from (excluded.head_at, excluded.head_id)
