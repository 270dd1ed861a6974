-- Sets how long jobs are kept after their end, against whatever apps say.
-- By: an operator. Locks: the row.
insert into pgqueue.retention as old (task, state, keep, set_by)
values (%(task)s, %(state)s, make_interval(secs => %(keep)s::float8), 'operator')
on conflict (task, state) do update
set keep = excluded.keep, set_by = 'operator', set_at = clock_timestamp()
returning task, state, extract(epoch from keep)::float8, set_by
