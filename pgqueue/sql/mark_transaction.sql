-- Marks the job's own transaction, and says which database it is in.
-- By: an executor, right after BEGIN on a connection of the user's engine. Locks: none.
-- The mark ends with the transaction, however somebody may end it.
select
    set_config('pgqueue.attempt', %(mark)s::text, true),
    extract(epoch from pg_postmaster_start_time())::text,
    (select oid::text from pg_database where datname = current_database()),
    current_database()::text
