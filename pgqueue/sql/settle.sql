-- Reads what became of leases whose finish was not confirmed: the reply was lost, the row was
-- locked, or the COMMIT of a transactional job failed on the way.
-- By: a worker's exchange. Locks: the jobs, in the order given (by id), skipping locked ones.
-- verdict `mine`: the lease still stands and nobody is about to end it, nothing was recorded.
-- `succeeded`, `cancelled`, `recorded`: this lease's outcome is in the table; the last is any other.
-- `lost`: somebody else ended it. `busy`: the row is locked, perhaps by a COMMIT that is still under
-- way; ask again. `gone`: there is no such job. Nobody deletes a job that runs but the finish of an
-- ephemeral one.
with outcome as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[]) as outcome (id, lease)
),
held as materialized (
    select outcome.id, outcome.lease, mine.id is not null as mine
    from outcome
    left join lateral (
        select job.id
        from pgqueue.jobs as job
        where job.id = outcome.id and job.lease = outcome.lease
        for no key update skip locked
    ) as mine on true
)
select
    held.id,
    held.lease,
    case
        when held.mine then 'mine'
        when job.id is null then 'gone'
        when job.lease = held.lease then 'busy'
        when job.lease = held.lease + 1 and job.state = 'succeeded' then 'succeeded'
        -- Not `exists`: some plans would make a hash of all attempts of it.
        -- What a rescue wrote of this lease is somebody else's word, whatever it says.
        else coalesce((
            select case attempt.outcome when 'cancelled' then 'cancelled' else 'recorded' end
            from pgqueue.attempts as attempt
            where attempt.job_id = held.id and attempt.lease = held.lease
                and attempt.outcome <> 'rescued'
                and coalesce(attempt.error_type, '') not in ('crashed', 'lost')
        ), 'lost')
    end
from held
left join pgqueue.jobs as job on job.id = held.id
