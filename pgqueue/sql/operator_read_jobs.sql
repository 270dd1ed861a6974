-- What an operator's action must know of jobs before it locks them.
-- By: client. Locks: none.
select id, state, task, coalesce(key_scope, task), key
from pgqueue.jobs
where id = any (%(ids)s::bigint[])
order by id
