-- Declares a worker dead, for good: it can claim nothing more, and its next heartbeat finds no row.
-- By: the supervisor that saw it die (`seen`), or the rescue step, which is answered only when the
-- heartbeat is still too old. Locks: the worker's row, which orders this against its heartbeat.
-- Answers its name, and the suspect it ran: one that had ended by then is none.
with buried as (
    delete from pgqueue.workers
    where id = %(worker_id)s
        and (%(seen)s or heartbeat_at < clock_timestamp() - ttl)
    returning id, name, suspect_id
)
select
    buried.name,
    (
        select job.id from pgqueue.jobs as job
        where job.id = buried.suspect_id
            and job.state = 'running' and job.worker_id = buried.id
    )
from buried
