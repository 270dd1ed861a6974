-- One beat for all workers of a supervisor. A worker that is missing in the answer was declared
-- dead by somebody else.
-- By: the supervisor. Locks: the workers, by id.
update pgqueue.workers as worker
set heartbeat_at = clock_timestamp()
where worker.id = any (
    array(
        select id from pgqueue.workers where id = any (%(ids)s::bigint[]) order by id
        for no key update
    )
)
returning worker.id
