-- Counts what prune_part.sql would delete among the next jobs by id, by task and state.
-- By: a prune by hand that only looks. Locks: none.
with clock as materialized (
    select clock_timestamp() as now
),
part as materialized (
    (
        select job.id, job.task, job.state, job.created_at, job.finished_at
        from pgqueue.jobs as job
        where not %(badly)s::boolean
            and job.id > %(after)s::bigint and job.id <= %(until)s::bigint
        order by job.id
        limit %(size)s
    )
    union all
    (
        select job.id, job.task, job.state, job.created_at, job.finished_at
        from pgqueue.jobs as job
        where %(badly)s::boolean and job.state in ('dead', 'cancelled', 'expired')
            and job.id > %(after)s::bigint and job.id <= %(until)s::bigint
        order by job.id
        limit %(size)s
    )
),
young as materialized (
    select min(part.id) as id from part
    where part.created_at > (select now from clock) - make_interval(secs => %(young)s::float8)
        -- One from the future (a clock was wrong once) must not hold up all behind it.
        and part.created_at < (select now from clock) + interval '1 hour'
),
past as materialized (
    select part.task, part.state
    from part
    where part.id < coalesce((select id from young), %(until)s::bigint + 1)
        and part.state = any (%(states)s::text[])
        and coalesce(part.finished_at, part.created_at) < case
            when %(older_than)s::float8 is not null
                then (select now from clock) - make_interval(secs => %(older_than)s::float8)
            else coalesce(
                (
                    select coalesce((select now from clock) - own.keep, '-infinity')
                    from pgqueue.retention as own
                    where own.task = part.task and own.state = part.state
                ),
                (
                    select (select now from clock) - common.keep
                    from pgqueue.retention as common
                    where common.task = '*' and common.state = part.state
                )
            )
        end
)
select
    (select count(*) from part),
    array(select task from past),
    array(select state from past),
    coalesce(
        (select id - 1 from young),
        (
            select case when count(*) = %(size)s then max(part.id) else %(until)s::bigint end
            from part
        )
    ),
    (select id from young) is not null
