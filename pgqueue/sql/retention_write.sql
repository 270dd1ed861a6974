-- Writes what an app says of its tasks: how long their jobs are kept after their end. What an
-- operator has set stays; what the app says no more of these tasks is forgotten.
-- By: a worker at its start. Locks: the rows that change, by (task, state). The last start wins.
with wanted as materialized (
    select wanted.task, wanted.state, make_interval(secs => wanted.keep) as keep
    from unnest(%(tasks)s::text[], %(states)s::text[], %(keeps)s::float8[])
        as wanted (task, state, keep)
),
forgotten as (
    delete from pgqueue.retention as old
    where old.set_by = 'app' and old.task = any (%(known)s::text[])
        and not exists (
            select from wanted where wanted.task = old.task and wanted.state = old.state
        )
)
insert into pgqueue.retention as old (task, state, keep, set_by)
select wanted.task, wanted.state, wanted.keep, 'app'
from wanted
where not exists (
    select from pgqueue.retention as same
    where same.task = wanted.task and same.state = wanted.state
        and same.keep is not distinct from wanted.keep
)
order by wanted.task collate "C", wanted.state collate "C"
on conflict (task, state) do update
set keep = excluded.keep, set_at = clock_timestamp()
where old.set_by = 'app'
