-- Deletes jobs with everything that belongs to them; a key whose window is open stays.
-- By: delete, of final jobs; purge, of jobs that wait.
-- Locks: rows of jobs and keys that it holds already.
select pgqueue.remove_jobs(%(ids)s::bigint[])
