-- Jobs as a test looks at them: one JSON text each, so that every driver brings the same.
-- By: pgqueue.testing, in the test's own transaction. Locks: none.
select row_to_json(found)::text
from (
    select
        job.id, job.task, job.version, job.queue, job.priority, job.state, job.attempt,
        job.max_attempts, job.timeout, job.key, job.key_scope, job.lease, job.run_at,
        job.expires_at, job.args::text as args, job.meta::text as meta, job.result::text as result,
        greatest(extract(epoch from job.run_at - job.created_at), 0)::double precision as delay,
        case when said.job_id is not null then json_build_object(
            'done', said.done, 'total', said.total, 'message', said.message, 'lease', said.lease,
            'reported_at', said.reported_at,
            'age', extract(epoch from clock_timestamp() - said.reported_at)
        ) end as progress
    from pgqueue.jobs as job
    left join pgqueue.progress as said on said.job_id = job.id
    where (%(ids)s::bigint[] is null or job.id = any (%(ids)s::bigint[]))
        and (%(task)s::text is null or job.task = %(task)s::text)
        and job.state = any (%(states)s::text[])
    order by job.id
) as found
