-- Locks jobs for an operator's action and says where they stand now.
-- By: client. Locks: the jobs, by id, after the key rows.
select id, state
from pgqueue.jobs
where id = any (%(ids)s::bigint[])
order by id
for no key update
