-- Deletes the checkpoints of a part of the table whose jobs are gone, and notes where the next part
-- begins. By: one worker for all. Locks: checkpoints of no job: nobody else wants them.
with place as (
    select (place ->> 'job_id')::bigint as job_id from pgqueue.steps where name = %(name)s
),
part as materialized (
    select distinct near.job_id
    from (
        select checkpoint.job_id
        from pgqueue.checkpoints as checkpoint
        where checkpoint.job_id > coalesce((select job_id from place), 0)
        order by checkpoint.job_id
        limit %(size)s
    ) as near
),
gone as (
    delete from pgqueue.checkpoints as checkpoint
    using part
    where checkpoint.job_id = part.job_id
        and not exists (select from pgqueue.jobs as job where job.id = part.job_id)
    returning checkpoint.job_id
),
noted as (
    update pgqueue.steps
    set place = (
        select jsonb_build_object('job_id', max(part.job_id)) from part having count(*) > 0
    )
    where name = %(name)s
)
select (select count(*) from part), (select count(*) from gone)
