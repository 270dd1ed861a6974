-- Opens each exchange: time limits, and the two joins off that would scan all of `jobs` under
-- some plans. Local to the transaction, so that a pooler's next client sees nothing of it.
select
    set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)
