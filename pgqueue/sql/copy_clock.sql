-- The database's time, as ISO 8601 in UTC: what jobs of a COPY are created at, and due from.
-- By: enqueue.copy, before each COPY. Locks: none.
select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
