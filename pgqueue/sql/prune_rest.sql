-- Notes that a sweep of prune has come to its end, and when the next may begin.
-- By: one worker for all, when the fronts have come to theirs. Locks: the step's row.
update pgqueue.steps as step
set place = coalesce(step.place, '{}') || jsonb_build_object(
    %(walk)s::text, 0,
    %(walk)s::text || ' rests until',
    extract(epoch from clock_timestamp())::float8 + %(seconds)s::float8,
    'overdue', 0
)
where step.name = %(name)s
