-- Claims an effect for a job under its lease: one that nobody has begun, or whose holder lost its
-- job, or that is over. No row back: somebody else has it, or the lease was lost: read once more.
-- By: once, before it runs its function. Locks: the effect. It waits for a transaction that has
-- claimed the same and is still open; an effect that is somebody's is not locked.
with mine as materialized (
    select job.id, job.lease
    from pgqueue.jobs as job
    where job.id = %(id)s::bigint and job.lease = %(lease)s::bigint
),
begun as (
    insert into pgqueue.effects (scope, key, job_id, lease)
    select %(scope)s::text, %(key)s::text, mine.id, mine.lease from mine
    on conflict (scope, key) do nothing
    returning job_id
),
taken as (
    update pgqueue.effects as effect
    set job_id = mine.id,
        lease = mine.lease,
        claimed_at = clock_timestamp(),
        finished_at = null,
        expires_at = null,
        result = null
    from mine
    where effect.scope = %(scope)s::text
        and effect.key = %(key)s::text
        and (
            effect.expires_at <= clock_timestamp()
            or (
                effect.finished_at is null
                and not exists (
                    select from pgqueue.jobs as holder
                    where holder.id = effect.job_id and holder.lease = effect.lease
                )
            )
        )
    returning effect.job_id
)
select job_id from begun
union all
select job_id from taken
