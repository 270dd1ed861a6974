-- Jobs as a test looks at them: one JSON text each, so that every driver brings the same.
-- By: pgqueue.testing, in the test's own transaction. Locks: none.
select row_to_json(found)::text
from (
    select
        job.id, job.task, job.version, job.queue, job.priority, job.state, job.attempt,
        job.max_attempts, job.timeout, job.key, job.key_scope, job.lease, job.run_at,
        job.expires_at, job.args::text as args, job.meta::text as meta, job.result::text as result,
        greatest(extract(epoch from job.run_at - job.created_at), 0)::double precision as delay
    from pgqueue.jobs as job
    where (%(ids)s::bigint[] is null or job.id = any (%(ids)s::bigint[]))
        and (%(task)s::text is null or job.task = %(task)s::text)
        and job.state = any (%(states)s::text[])
    order by job.id
) as found
