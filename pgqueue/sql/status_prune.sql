-- How many seconds ago a worker looked for jobs to prune, and how far behind it is.
-- By: inspection. Locks: none.
select
    extract(epoch from clock_timestamp() - max(step.ran_at) filter (
        where step.ran_at > '2000-01-02'
    ))::float8,
    coalesce(max((step.place ->> 'overdue')::float8), 0)
from pgqueue.steps as step
where step.name = 'prune'
