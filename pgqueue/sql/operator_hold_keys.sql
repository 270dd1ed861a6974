-- Lets locked keys map to requeued jobs, until these are final.
-- By: requeue. Locks: none that it does not hold.
update pgqueue.idempotency_keys as held
set job_id = wanted.job_id, expires_at = null
from unnest(%(scopes)s::text[], %(keys)s::text[], %(job_ids)s::bigint[]) as wanted (scope, key, job_id)
where held.scope = wanted.scope and held.key = wanted.key
