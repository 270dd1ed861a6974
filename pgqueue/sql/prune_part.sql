-- Deletes what is past its retention among the next jobs by id, and notes how far it came.
-- By: one worker for all, and a prune by hand. Locks: the jobs that go, by id, and their keys,
-- both skipping locked ones, so that it waits for nobody; then the step's row.
-- It stops before the first job that is too young to be past any retention it is asked to look for.
-- A job whose lease has moved since it was read was requeued: it stays.
-- One of two ways: all jobs, or only those that ended badly, along the small index that they have.
-- prune_preview.sql counts by the same rule.
with clock as materialized (
    select clock_timestamp() as now
),
part as materialized (
    (
        select job.id, job.lease, job.task, job.state, job.created_at, job.finished_at
        from pgqueue.jobs as job
        where not %(badly)s::boolean
            and job.id > %(after)s::bigint and job.id <= %(until)s::bigint
        order by job.id
        limit %(size)s
    )
    union all
    (
        select job.id, job.lease, job.task, job.state, job.created_at, job.finished_at
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
    select part.id, part.lease
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
),
held as materialized (
    select job.id
    from past
    cross join lateral (
        select job.id
        from pgqueue.jobs as job
        where job.id = past.id and job.lease = past.lease
        for update skip locked
    ) as job
),
gone as materialized (
    select pgqueue.remove_jobs(array(select id from held)) where exists (select from held)
),
further as materialized (
    select
        coalesce(
            (select id - 1 from young),
            case when count(*) = %(size)s then max(part.id) else %(until)s::bigint end
        ) as cursor,
        case when (select id from young) is null then extract(
            epoch from (select now from clock) - make_interval(secs => %(young)s::float8)
                - max(part.created_at)
        )::float8 end as late
    from part
),
came as materialized (
    select
        further.cursor,
        case when further.cursor < %(newest)s::bigint then greatest(further.late, 0) else 0 end
            as overdue
    from further
),
noted as (
    update pgqueue.steps as step
    set place = coalesce(step.place, '{}')
        || jsonb_build_object(%(walk)s::text, came.cursor)
        || case when %(walk)s::text in ('sweep', 'badly') then '{}'
            else jsonb_build_object('overdue', came.overdue) end
    from came
    where step.name = %(name)s
)
select
    (select count(*) from part),
    (select count(*) from held) + 0 * (select count(*) from gone),
    came.cursor,
    (select id from young) is not null,
    came.overdue
from came
