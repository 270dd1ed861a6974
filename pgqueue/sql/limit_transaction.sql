-- Opens the finish in the job's own transaction: time limits, and whether it is still the one that
-- was marked. By: an executor, after the handler. Locks: none.
select
    current_setting('pgqueue.attempt', true),
    set_config('statement_timeout', %(statement_timeout)s::text, true),
    set_config('lock_timeout', %(lock_timeout)s::text, true)
