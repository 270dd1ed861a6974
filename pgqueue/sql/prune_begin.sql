-- Where the walks of prune stand, the newest id there ever was, every time (in seconds) for which
-- some jobs are kept, those of successes among them, and the database's clock.
-- By: one worker for all, and a prune by hand. Locks: none.
select
    coalesce((select step.place from pgqueue.steps as step where step.name = %(name)s), '{}'),
    coalesce(pg_sequence_last_value('pgqueue.jobs_id_seq'), 0),
    array(
        select distinct extract(epoch from keep)::float8 from pgqueue.retention
        where keep is not null
    ),
    array(
        select distinct extract(epoch from keep)::float8 from pgqueue.retention
        where keep is not null and state = 'succeeded'
    ),
    extract(epoch from clock_timestamp())::float8
