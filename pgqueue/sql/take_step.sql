-- Takes the turn for a maintenance step, when it is due and nobody else has it.
-- By: any worker. Locks: the step's row, skipped when somebody holds it.
update pgqueue.steps as step
set ran_at = clock_timestamp()
where step.name = any (
    array(
        select name from pgqueue.steps
        where name = %(name)s
            and ran_at <= clock_timestamp() - make_interval(secs => %(every)s)
        for no key update skip locked
    )
)
returning true
