-- Says that a process waits for these jobs: from this commit on, their finish notifies.
-- By: a process that waits, before it looks once more. Locks: its own rows.
with waiter as (
    insert into pgqueue.waiters (id, expires_at)
    values (%(waiter_id)s, clock_timestamp() + %(seconds)s * interval '1 second')
    on conflict (id) do nothing
)
insert into pgqueue.waits (job_id, waiter_id)
select job_id, %(waiter_id)s from unnest(%(ids)s::bigint[]) as job_id
on conflict (job_id, waiter_id) do nothing
