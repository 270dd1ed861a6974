-- Which database this is: the start of its server, and its oid there; no other has both.
-- By: an executor, on a connection of the worker's own. Locks: none.
select
    extract(epoch from pg_postmaster_start_time())::text,
    (select oid::text from pg_database where datname = current_database())
