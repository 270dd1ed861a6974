-- What an edit must know of a job: its task, and its arguments and meta as text.
-- By: requeue with new arguments. Locks: none that it does not hold.
select task, version, args::text, meta::text
from pgqueue.jobs
where id = %(id)s
