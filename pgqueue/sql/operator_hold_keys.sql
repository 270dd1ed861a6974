-- Lets locked keys map to requeued jobs: until an open window is over, else until these are final.
-- By: requeue. Locks: none that it does not hold.
update pgqueue.idempotency_keys as held
set job_id = wanted.job_id,
    expires_at = case when held.expires_at > clock_timestamp() then held.expires_at end,
    until = case when held.expires_at > clock_timestamp() then held.until
        else coalesce(held.until, 'finished') end
from unnest(%(scopes)s::text[], %(keys)s::text[], %(job_ids)s::bigint[]) as wanted (scope, key, job_id)
where held.scope = wanted.scope and held.key = wanted.key
