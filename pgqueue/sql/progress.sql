-- Keeps how far jobs are, as their handlers said, each under its lease, or the one with which that
-- attempt ended the job. What was said before what stands there is dropped: maintenance and the exchange may write at the same time.
-- By: a worker's maintenance, once a second, and its exchange or a transactional handler's finish,
-- right before the finish of such a job. Locks: the rows of `progress`, by job id.
insert into pgqueue.progress as kept (job_id, lease, sequence, done, total, message)
select said.job_id, said.lease, said.sequence, said.done, said.total, said.message
from jsonb_to_recordset(%(reports)s::jsonb) as said (
    job_id bigint, lease bigint, sequence bigint,
    done double precision, total double precision, message text
)
join pgqueue.jobs as job on job.id = said.job_id
where job.lease = said.lease or (job.lease = said.lease + 1 and job.finished_at is not null)
order by said.job_id
on conflict (job_id) do update
set lease = excluded.lease,
    sequence = excluded.sequence,
    done = excluded.done,
    total = excluded.total,
    message = excluded.message,
    reported_at = excluded.reported_at
where (kept.lease, kept.sequence) < (excluded.lease, excluded.sequence)
