-- Writes the times of an app that says nothing, where no worker has ever said anything.
-- By: a prune by hand. Locks: new rows only.
insert into pgqueue.retention (task, state, keep, set_by)
select '*', state, make_interval(secs => keep), 'app'
from unnest(%(states)s::text[], %(keeps)s::float8[]) as missing (state, keep)
on conflict do nothing
