-- Takes the turn for a maintenance step, when it is due and nobody else has it.
-- By: any worker. Locks: the step's row, skipped when somebody holds it.
-- A turn that lies ahead was taken by another clock, before a failover: it counts for nothing.
update pgqueue.steps as step
set ran_at = clock_timestamp()
where step.name = any (
    array(
        select name from pgqueue.steps
        where name = %(name)s
            and ran_at not between
                clock_timestamp() - make_interval(secs => %(every)s) and clock_timestamp()
        for no key update skip locked
    )
)
returning true
