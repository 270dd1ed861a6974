-- Sets how long a claim in the job's own transaction waits; answers what held before.
-- By: once, before its claim and, with that answer, after it.
select current_setting('lock_timeout'), set_config('lock_timeout', %(limit)s::text, true)
