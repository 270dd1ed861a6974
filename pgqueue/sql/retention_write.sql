-- Writes what an app says of its tasks: how long their jobs are kept after their end. What an
-- operator has set stays; what the app says no more of these tasks is forgotten.
-- By: a worker at its start. Locks: the rows that change, by (task, state). The last start wins,
-- but an app that says nothing of all tasks (set_by `default`) overrules nobody.
with wanted as materialized (
    select wanted.task, wanted.state, make_interval(secs => wanted.keep) as keep, wanted.set_by
    from unnest(
        %(tasks)s::text[], %(states)s::text[], %(keeps)s::float8[], %(set_by)s::text[]
    ) as wanted (task, state, keep, set_by)
),
forgotten as (
    delete from pgqueue.retention as old
    where old.set_by = 'app' and old.task = any (%(known)s::text[])
        and not exists (
            select from wanted where wanted.task = old.task and wanted.state = old.state
        )
)
insert into pgqueue.retention as old (task, state, keep, set_by)
select wanted.task, wanted.state, wanted.keep, wanted.set_by
from wanted
where not exists (
    select from pgqueue.retention as there
    where there.task = wanted.task and there.state = wanted.state
        and (
            wanted.set_by = 'default'
            or (there.set_by = 'app' and there.keep is not distinct from wanted.keep)
        )
)
order by wanted.task collate "C", wanted.state collate "C"
on conflict (task, state) do update
set keep = excluded.keep, set_by = 'app', set_at = clock_timestamp()
where old.set_by <> 'operator' and excluded.set_by = 'app'
