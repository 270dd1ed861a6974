-- Deletes what nobody will come back for: the waits of processes that are gone, and the progress of
-- jobs that were deleted without it.
-- By: one worker for all. Locks: these rows, skipping locked ones; at most 1000 of progress.
with gone as (
    delete from pgqueue.waiters where expires_at < clock_timestamp()
),
orphan as materialized (
    select kept.job_id
    from pgqueue.progress as kept
    where not exists (select from pgqueue.jobs as job where job.id = kept.job_id)
    limit 1000
    for update skip locked
)
delete from pgqueue.progress where job_id = any (array(select job_id from orphan))
