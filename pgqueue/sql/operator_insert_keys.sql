-- Takes keys that nobody holds, for jobs that are about to be ready again.
-- By: requeue. Locks: the new key rows, in the order given (sorted); waits for a rival that inserts
-- the same key.
insert into pgqueue.idempotency_keys (scope, key, job_id)
select scope, key, job_id
from unnest(%(scopes)s::text[], %(keys)s::text[], %(job_ids)s::bigint[]) as wanted (scope, key, job_id)
on conflict do nothing
