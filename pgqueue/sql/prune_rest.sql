-- Notes that the sweep of prune has come to its end, and when the next may begin.
-- By: one worker for all. Locks: the step's row.
update pgqueue.steps as step
set place = coalesce(step.place, '{}') || jsonb_build_object(
    'sweep', 0,
    'rest_until', extract(epoch from clock_timestamp())::float8 + %(seconds)s::float8
)
where step.name = %(name)s
