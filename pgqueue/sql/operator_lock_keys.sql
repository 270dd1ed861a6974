-- Locks key rows and says which job each maps to.
-- By: requeue, delete. Locks: the key rows, sorted, before any job.
select held.scope, held.key, held.job_id
from pgqueue.idempotency_keys as held
where (held.scope, held.key) in (
    select wanted.scope, wanted.key
    from unnest(%(scopes)s::text[], %(keys)s::text[]) as wanted (scope, key)
)
order by held.scope, held.key
for update
