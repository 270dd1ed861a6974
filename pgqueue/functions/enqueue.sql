-- enqueue      the contract between producers and pgqueue, for every driver and for psql.
-- refuse_full  raises the error for the first of these queues that is full, if one is.
--
-- In:   one job as a JSON object, or many as an array; members and limits: docs/enqueue.md
-- Out:  {"id": 1, "created": true}, or an array of these in the order given. created is false when
--       a job with the same key exists; id is then that job's, and where on_conflict changed it,
--       "changed" says "replaced" or "rescheduled".
-- Errors: PQ001 invalid document, the message starts with the path, as [3].priority;
--       PQ002 a key was taken from us in ten rounds; PQ003 a queue is full; PQ004 another job holds
--       the key, and on_conflict is raise. 22P02 and 22P05: not JSON at all.
--
-- It runs in the caller's transaction and with the caller's rights: no savepoint, no SET.
-- Locks, in this order: key rows, sorted by (scope, key); the new rows of jobs; then, by id, jobs
-- that hold a key and are to be changed or to be kept from starting; for one that ended just then,
-- all this once more. A key that another open transaction holds is waited for. At READ COMMITTED
-- no unique violation can arise.
-- NOTIFY takes a database-wide lock at commit: one only for queues in which a worker sleeps.

create function pgqueue.refuse_full(wanted text[]) returns void
    language plpgsql
    volatile
    security invoker
as $$
declare
    full_queue record;
begin
    select queue.name, queue.depth, queue.max_depth into full_queue
    from pgqueue.queues as queue
    where queue.name = any (wanted) and queue.is_full
    order by queue.name
    limit 1;
    if found then
        raise exception using errcode = 'PQ003', message = 'queue "' || full_queue.name
            || '" is full: ' || full_queue.depth || ' due jobs wait in it, its max_depth is '
            || full_queue.max_depth || '; try again later';
    end if;
end
$$;

create function pgqueue.enqueue(jobs text) returns text
    language plpgsql
    volatile
    strict
    security invoker
as $$
declare
    document constant jsonb := jobs::jsonb;
    clock timestamptz := pg_catalog.clock_timestamp();
    new_id bigint;
    holder bigint;
    change text;
    made_queue text;
    made_priority smallint;
    made_due timestamptz;
    ids bigint[];      -- by position: the id drawn for this job
    answers bigint[];  -- by position: the id to answer; null where no job has a key
    changes text[];    -- by position: what became of the key's holder, where that is not nothing
    scopes text[];     -- the wanted keys, distinct: three arrays side by side
    keys text[];
    holders bigint[];
    place integer;
    wanted jsonb;
begin
    -- One job, the common case, has a short branch of its own.
    if pg_catalog.jsonb_typeof(document) <> 'array' then
        if not pgqueue.job_is_plain(document) then
            perform pgqueue.check_job(document, '');
        end if;
        new_id := pg_catalog.nextval('pgqueue.jobs_id_seq');
        if document ->> 'key' is not null then
            holder := pgqueue.take_key(
                coalesce(document ->> 'key_scope', document ->> 'task'),
                document ->> 'key',
                new_id,
                clock + pg_catalog.make_interval(secs => (document ->> 'unique_for')::float8),
                coalesce(
                    document ->> 'until',
                    case when document ->> 'unique_for' is null then 'finished' end
                )
            );
            if holder <> new_id then
                if document ->> 'on_conflict' is null and document ->> 'until' is null then
                    return '{"id": ' || holder || ', "created": false}';
                end if;
                change := pgqueue.meet_holder(holder, document);
                if change is null then
                    return pgqueue.enqueue(jobs);
                end if;
                return '{"id": ' || holder || ', "created": false' || case change
                    when 'existing' then '}' else ', "changed": "' || change || '"}' end;
            end if;
            clock := pg_catalog.clock_timestamp();
        end if;
        insert into pgqueue.jobs (
            id, task, args, queue, priority, created_at, run_at, expires_at,
            max_attempts, timeout, key, key_scope, meta, version
        ) overriding system value values (
            new_id,
            document ->> 'task',
            coalesce(document -> 'args', '{}'),
            coalesce(document ->> 'queue', 'default'),
            coalesce((document ->> 'priority')::smallint, 0),
            clock,
            pgqueue.due_at(document, clock),
            pgqueue.expires_at(document, clock),
            coalesce((document ->> 'max_attempts')::smallint, 8),
            (document ->> 'timeout')::float8,
            document ->> 'key',
            nullif(document ->> 'key_scope', document ->> 'task'),
            coalesce(document -> 'meta', '{}'),
            coalesce((document ->> 'version')::integer, 1)
        )
        returning queue, priority, run_at into made_queue, made_priority, made_due;
        -- One statement for both looks: each of its own would cost twice as much.
        if exists (
            select from pgqueue.queues as queue where queue.name = made_queue and queue.is_full
        ) or (made_due <= clock and exists (
            select from pgqueue.sleepers as sleeper where sleeper.queue = made_queue
        )) then
            perform pgqueue.refuse_full(array[made_queue]);
            if made_due <= clock then
                perform pg_catalog.pg_notify('pgqueue.' || made_queue, made_priority::text);
            end if;
        end if;
        return '{"id": ' || new_id || ', "created": true}';
    end if;

    if document = '[]' then
        return '[]';
    end if;
    -- Jobs of one call mostly differ in their arguments alone: what else they say is tested once
    -- for all that say the same. Only if something is wrong, each is looked at in its order.
    if not (
        select pg_catalog.bool_and(pgqueue.job_is_plain(members))
        from (
            select distinct case
                when pg_catalog.jsonb_typeof(job) = 'object'
                    and coalesce(pg_catalog.jsonb_typeof(job -> 'args') = 'object', true)
                    then job - '{args}'::text[]
            end as members
            from pg_catalog.jsonb_array_elements(document) as element (job)
        ) as told_apart
    ) then
        perform pgqueue.check_job(job, '[' || position - 1 || ']')
        from pg_catalog.jsonb_array_elements(document) with ordinality as element (job, position)
        where not pgqueue.job_is_plain(job);
    end if;

    ids := array(
        select pg_catalog.nextval('pgqueue.jobs_id_seq')
        from pg_catalog.generate_series(1, pg_catalog.jsonb_array_length(document))
    );
    if document @? '$[*].key' then
        select
            pg_catalog.array_agg(taken.scope),
            pg_catalog.array_agg(taken.key),
            pg_catalog.array_agg(taken.holder)
        into scopes, keys, holders
        from (
            select scope, key, pgqueue.take_key(scope, key, id, ends, until) as holder
            from (
                -- A key given twice in one call: the first job creates, the others get its id.
                select distinct on (scope, key)
                    coalesce(job ->> 'key_scope', job ->> 'task') collate "C" as scope,
                    (job ->> 'key') collate "C" as key,
                    ids[position] as id,
                    clock + pg_catalog.make_interval(secs => (job ->> 'unique_for')::float8) as ends,
                    coalesce(
                        job ->> 'until',
                        case when job ->> 'unique_for' is null then 'finished' end
                    ) as until
                from pg_catalog.jsonb_array_elements(document)
                    with ordinality as element (job, position)
                where job ->> 'key' is not null
                order by scope, key, position
            ) as wanted
        ) as taken;
        answers := array(
            select coalesce(held.id, ids[element.position])
            from pg_catalog.jsonb_array_elements(document)
                with ordinality as element (job, position)
            left join unnest(scopes, keys, holders) as held (scope, key, id)
                on held.key = job ->> 'key'
                and held.scope = coalesce(job ->> 'key_scope', job ->> 'task')
            order by element.position
        );
        -- Rivals may have been waited for: workers look only a moment back.
        clock := pg_catalog.clock_timestamp();
    end if;

    if exists (select from pgqueue.queues as queue where queue.is_full) then
        perform pgqueue.refuse_full(array(
            select distinct coalesce(job ->> 'queue', 'default')
            from pg_catalog.jsonb_array_elements(document) with ordinality as element (job, position)
            where answers is null or answers[position] = ids[position]
        ));
    end if;

    insert into pgqueue.jobs (
        id, task, args, queue, priority, created_at, run_at, expires_at,
        max_attempts, timeout, key, key_scope, meta, version
    ) overriding system value
    select
        ids[position],
        job.task,
        coalesce(job.args, '{}'),
        coalesce(job.queue, 'default'),
        coalesce(job.priority, 0),
        clock,
        due.moment,
        case
            when job.ttl is null then job.expires_at
            else least(
                due.moment + pg_catalog.make_interval(
                    secs => pg_catalog.round(job.ttl, 6)::float8
                ),
                '9000-01-01 00:00:00+00'
            )
        end,
        coalesce(job.max_attempts, 8),
        job.timeout,
        job.key,
        nullif(job.key_scope, job.task),
        coalesce(job.meta, '{}'),
        coalesce(job.version, 1)
    from rows from (
        -- All members in one pass over a job, where -> would search for each.
        pg_catalog.jsonb_to_recordset(document) as (
            task text, args jsonb, queue text, priority smallint, run_at timestamptz,
            delay numeric, expires_at timestamptz, ttl numeric, max_attempts smallint,
            timeout float8, key text, key_scope text, meta jsonb, version integer
        )
    ) with ordinality as job (
        task, args, queue, priority, run_at, delay, expires_at, ttl, max_attempts, timeout,
        key, key_scope, meta, version, position
    )
    cross join lateral (
        select greatest(
            clock,
            job.run_at,
            clock + pg_catalog.make_interval(secs => pg_catalog.round(job.delay, 6)::float8)
        ) as moment
    ) as due
    where answers is null or answers[position] = ids[position];

    -- The jobs that hold a key, as if each enqueue had come after the one before it.
    if answers is not null then
        for place, wanted in
            select element.position, element.job
            from pg_catalog.jsonb_array_elements(document)
                with ordinality as element (job, position)
            where answers[position] <> ids[position]
                and (job ->> 'on_conflict' <> 'existing' or job ->> 'until' = 'started')
            order by answers[position], position
        loop
            change := pgqueue.meet_holder(answers[place], wanted);
            if change is null then
                wanted := pgqueue.enqueue(wanted::text)::jsonb;
                change := wanted ->> 'changed';
                answers[place] := (wanted ->> 'id')::bigint;
                if (wanted ->> 'created')::boolean then
                    ids[place] := answers[place];
                end if;
            end if;
            changes[place] := nullif(change, 'existing');
        end loop;
    end if;

    if exists (select from pgqueue.sleepers) then
        perform pg_catalog.pg_notify('pgqueue.' || due.queue, due.priority::text)
        from (
            select distinct job.queue, job.priority
            from pgqueue.jobs as job
            where job.id = any (ids) and job.run_at <= clock
        ) as due
        where exists (select from pgqueue.sleepers as sleeper where sleeper.queue = due.queue);
    end if;

    if answers is null then
        return '[{"id": '
            || pg_catalog.array_to_string(ids, ', "created": true}, {"id": ')
            || ', "created": true}]';
    end if;
    return (
        select '[' || pg_catalog.string_agg(
            '{"id": ' || answers[position] || ', "created": '
                || (answers[position] = ids[position])::text
                || coalesce(', "changed": "' || changes[position] || '"', '') || '}',
            ', ' order by position
        ) || ']'
        from pg_catalog.generate_subscripts(ids, 1) as position
    );
end
$$;

revoke execute on function pgqueue.refuse_full(text[]) from public;
revoke execute on function pgqueue.enqueue(text) from public;
