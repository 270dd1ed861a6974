-- Deletes final jobs with everything that belongs to them; a key whose window is open stays.
-- By: delete. Locks: rows of jobs and keys that it holds already.
select pgqueue.remove_jobs(%(ids)s::bigint[])
