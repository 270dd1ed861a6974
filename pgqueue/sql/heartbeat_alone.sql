-- Beats as heartbeat.sql does, and asks for nothing else: for when that waited in vain for a lock on
-- all of `jobs` (VACUUM FULL, a change of the table), under which the workers are as alive as ever.
-- By: the supervisor. Locks: the workers it beats for, by id.
update pgqueue.workers as worker
set heartbeat_at = clock_timestamp()
where worker.id = any (
    array(
        select id from pgqueue.workers where id = any (%(ids)s::bigint[]) order by id
        for no key update
    )
)
returning 'beat' as kind, worker.id, null::float8 as number
