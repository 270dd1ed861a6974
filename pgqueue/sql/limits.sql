-- Opens each transaction of a worker, unless the session holds all of this (pgqueue/session.py, and
-- store.AVOIDED): time limits, and what some plans would do to all of `jobs` off: the two
-- joins that scan it, the sort that reads every ready job to give back the first few in order, and
-- the scan of the table itself: a worker that prepares its claim while the table is empty would
-- keep that plan while the table grows, until the next ANALYZE (claims of 5 to 16 ms). Nor is
-- anything compiled: by their estimates some statements look dear (0.37 s for a look of 1 ms).
-- Local to the transaction, so that a pooler's next client sees nothing of it.
select
    set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('enable_seqscan', 'off', true),
    set_config('jit', 'off', true)
