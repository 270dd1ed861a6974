-- What people, dashboards and monitors may read: without arguments, results, meta, keys, tracebacks.
--
-- job_overview  a row for each job, its state as people read it. Costs what is asked of it: filter
--               by id, or by `state` (dead, cancelled, expired, running; ready with a queue), and an
--               index serves. last_error and worker are looked up only where they are selected.
-- queue_stats   a row for each queue with live jobs, or with jobs that ended badly of late. Walks
--               from lane to lane along the claim's index; counts stop at 10,001, so the cost is
--               bounded whatever the table holds.
--               So is requeues.
-- dead_jobs     a row for each dead job, by the index of jobs that ended badly. Ask for the newest:
--               order by id desc limit 50.
-- dead_groups   a row for each cause of death: fingerprint, task, queue and error type. Of the newest
--               10,001 dead jobs, and no more; `sampled` says of how many.
-- slow_tasks    a row for each task that finished jobs in the last hour. No index knows when jobs
--               finished: it reads the newest 100,000 jobs by id, and no more.
--
-- A view reads with its owner's rights, so to grant it is enough. The time is that of the statement.
-- Not clock_timestamp(): a volatile column would keep filters from reaching the table.

create view pgqueue.job_overview as
select
    job.id,
    job.queue,
    job.task,
    job.state,
    case
        when job.state <> 'ready' or job.run_at <= statement_timestamp() then job.state
        when job.attempt > 0 then 'retrying'
        else 'waiting'
    end as shown_state,
    job.priority,
    job.attempt,
    job.max_attempts,
    job.created_at,
    job.run_at,
    job.started_at,
    job.finished_at,
    statement_timestamp() - job.created_at as age,
    case
        when job.state = 'ready' then
            greatest(statement_timestamp() - job.run_at, interval '0')
        else greatest(job.started_at - job.run_at, interval '0')
    end as wait,
    case
        when job.state = 'running' then statement_timestamp() - job.started_at
        when job.finished_at is not null then job.finished_at - job.started_at
    end as duration,
    (
        select concat_ws(': ', attempt.error_type, left(attempt.message, 200))
        from pgqueue.attempts as attempt
        where attempt.job_id = job.id and attempt.outcome <> 'requeued'
        order by attempt.lease desc
        limit 1
    ) as last_error,
    (select worker.name from pgqueue.workers as worker where worker.id = job.worker_id) as worker,
    job.cancel_requested_at,
    job.expires_at,
    (
        select count(*)::integer
        from pgqueue.attempts as attempt
        where attempt.job_id = job.id and attempt.outcome = 'requeued'
    ) as requeues
from pgqueue.jobs as job;

create view pgqueue.queue_stats as
with recursive lane as (
    (
        select job.queue, job.priority
        from pgqueue.jobs as job
        where job.state = 'ready'
        order by job.queue, job.priority desc
        limit 1
    )
    union all
    select next.queue, next.priority
    from lane
    cross join lateral (
        (
            select job.queue, job.priority
            from pgqueue.jobs as job
            where job.state = 'ready' and job.queue = lane.queue and job.priority < lane.priority
            order by job.queue, job.priority desc
            limit 1
        )
        union all
        (
            select job.queue, job.priority
            from pgqueue.jobs as job
            where job.state = 'ready' and job.queue > lane.queue
            order by job.queue, job.priority desc
            limit 1
        )
        limit 1
    ) as next
),
live as (
    select
        lane.queue,
        sum(due.jobs) as ready,
        sum(later.jobs) as waiting,
        max(due.oldest) as oldest_due
    from lane
    cross join lateral (
        select count(*) as jobs, statement_timestamp() - min(found.run_at) as oldest
        from (
            select job.run_at
            from pgqueue.jobs as job
            where job.state = 'ready' and job.queue = lane.queue
                and job.priority = lane.priority and job.run_at <= statement_timestamp()
            order by job.run_at, job.id
            limit 10001
        ) as found
    ) as due
    cross join lateral (
        select count(*) as jobs
        from (
            select
            from pgqueue.jobs as job
            where job.state = 'ready' and job.queue = lane.queue
                and job.priority = lane.priority and job.run_at > statement_timestamp()
            order by job.run_at, job.id
            limit 10001
        ) as found
    ) as later
    group by lane.queue
),
running as (
    select found.queue, count(*) as jobs
    from (
        select job.queue from pgqueue.jobs as job where job.state = 'running' limit 10001
    ) as found
    group by found.queue
),
ended as (
    select
        found.queue,
        count(*) filter (where found.state = 'dead') as dead,
        count(*) filter (where found.state = 'cancelled') as cancelled,
        count(*) filter (where found.state = 'expired') as expired
    from (
        select job.queue, job.state
        from pgqueue.jobs as job
        where job.state in ('dead', 'cancelled', 'expired')
        order by job.id desc
        limit 10001
    ) as found
    group by found.queue
)
select
    queue,
    least(coalesce(live.ready, 0), 10001)::integer as ready,
    least(coalesce(live.waiting, 0), 10001)::integer as waiting,
    coalesce(running.jobs, 0)::integer as running,
    live.oldest_due,
    coalesce(ended.dead, 0)::integer as dead,
    coalesce(ended.cancelled, 0)::integer as cancelled,
    coalesce(ended.expired, 0)::integer as expired
from live
full join running using (queue)
full join ended using (queue);

create view pgqueue.dead_jobs as
select
    job.id,
    job.queue,
    job.task,
    job.attempt,
    job.max_attempts,
    job.crash_count,
    job.created_at,
    job.finished_at,
    last.error_type,
    left(last.message, 200) as message,
    last.worker,
    last.fingerprint,
    (
        select count(*)::integer
        from pgqueue.attempts as attempt
        where attempt.job_id = job.id and attempt.outcome = 'requeued'
    ) as requeues
from pgqueue.jobs as job
left join lateral (
    select attempt.error_type, attempt.message, attempt.worker, attempt.fingerprint
    from pgqueue.attempts as attempt
    where attempt.job_id = job.id and attempt.outcome <> 'requeued'
    order by attempt.lease desc
    limit 1
) as last on true
where job.state = 'dead';

create view pgqueue.slow_tasks as
select
    recent.task,
    count(*)::integer as jobs,
    count(*) filter (where recent.state = 'dead')::integer as dead,
    percentile_cont(0.5) within group (order by recent.duration) as median,
    percentile_cont(0.95) within group (order by recent.duration) as p95,
    max(recent.duration) as longest,
    sum(recent.duration) as total
from (
    select job.task, job.state, job.finished_at, job.finished_at - job.started_at as duration
    from pgqueue.jobs as job
    order by job.id desc
    limit 100000
) as recent
where recent.state in ('succeeded', 'dead') and recent.duration is not null
    and recent.finished_at > statement_timestamp() - interval '1 hour'
group by recent.task;

create view pgqueue.dead_groups as
with dead as materialized (
    select job.id, job.lease, job.queue, job.task, job.finished_at
    from pgqueue.jobs as job
    where job.state = 'dead'
    order by job.id desc
    limit 10001
)
select
    last.fingerprint,
    dead.queue,
    dead.task,
    last.error_type,
    count(*)::integer as jobs,
    left((array_agg(last.message order by dead.id desc))[1], 200) as message,
    min(dead.finished_at) as first_at,
    max(dead.finished_at) as last_at,
    (array_agg(dead.id order by dead.id desc))[1:3] as ids,
    (select count(*)::integer from dead) as sampled
from dead
left join lateral (
    -- The attempt that ended it stands under the lease before. `limit`: never a join of the tables.
    select attempt.fingerprint, attempt.error_type, attempt.message
    from pgqueue.attempts as attempt
    where attempt.job_id = dead.id and attempt.lease = dead.lease - 1
    limit 1
) as last on true
group by last.fingerprint, dead.queue, dead.task, last.error_type;
