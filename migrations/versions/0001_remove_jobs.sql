-- Deletes jobs with everything that belongs to them: the one place that knows what that is.
--
-- remove_jobs  for prune, for an operator's delete, and for the finish of an ephemeral job. A table
--              with rows of a job is one branch more here. A key goes with its job, unless its
--              window is still open.
--
-- Locks: the caller holds the jobs, and has decided that they may go. Key rows are locked after the
-- jobs, against the order of everybody else, and so never waited for: one that somebody has stays,
-- held by nobody, and the sweep of keys takes it.

create function pgqueue.remove_jobs(ids bigint[]) returns void
    language plpgsql
    volatile
    security invoker
as $$
begin
    with gone as (
        delete from pgqueue.jobs as job
        where job.id = any (ids)
        returning job.id, job.lease, job.task, job.key, job.key_scope
    ),
    attempt as (
        delete from pgqueue.attempts as attempt
        where attempt.job_id = any (ids)
    ),
    said as (
        delete from pgqueue.progress as said
        where said.job_id = any (ids)
    ),
    checkpoint as (
        delete from pgqueue.checkpoints as checkpoint
        where checkpoint.job_id = any (ids)
    ),
    free as materialized (
        select held.scope, held.key
        from gone
        join pgqueue.idempotency_keys as held
            on held.scope = coalesce(gone.key_scope, gone.task)
            and held.key = gone.key
            and held.job_id = gone.id
        where gone.key is not null
            and (held.until is not null or held.expires_at <= clock_timestamp())
        for update of held skip locked
    )
    delete from pgqueue.idempotency_keys as held
    using free
    where held.scope = free.scope and held.key = free.key;
end
$$;

revoke execute on function pgqueue.remove_jobs(bigint[]) from public;
