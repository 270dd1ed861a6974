-- take_key   who holds a key: the job that asks for it, or the job that had it before.
-- enqueue    the contract between producers and pgqueue, for every driver and for psql.
--
-- In:   one job as a JSON object, or many as an array; members and limits: docs/enqueue.md
-- Out:  {"id": 1, "created": true}, or an array of these in the order given. created is false when
--       a job with the same key exists; id is then that job's.
-- Errors: PQ001 invalid document, the message starts with the path, as [3].priority;
--       PQ002 a key was taken from us in ten rounds. 22P02 and 22P05: not JSON at all.
--
-- It runs in the caller's transaction and with the caller's rights: no savepoint, no SET.
-- Locks, in this order: key rows, sorted by (scope, key); then the new rows of jobs. A key that
-- another open transaction holds is waited for. At READ COMMITTED no unique violation can arise.
-- NOTIFY takes a database-wide lock at commit: one only for queues in which a worker sleeps.

create function pgqueue.take_key(wanted_scope text, wanted_key text, new_id bigint, ends timestamptz)
    returns bigint
    language plpgsql
    volatile
    security invoker
as $$
declare
    holder bigint;
    is_held boolean;
begin
    for round in 1..10 loop
        insert into pgqueue.idempotency_keys (scope, key, job_id, expires_at)
        values (wanted_scope, wanted_key, new_id, ends)
        on conflict do nothing;
        if found then
            return new_id;
        end if;

        -- A statement of its own sees what a rival, waited for above, has committed. Without a
        -- time the key is held until its job is final, and a job that is gone is final.
        select held.job_id, case
            when held.expires_at is not null then held.expires_at > pg_catalog.clock_timestamp()
            else (
                select job.state not in ('succeeded', 'dead', 'cancelled', 'expired')
                from pgqueue.jobs as job
                where job.id = held.job_id
            )
        end
        into holder, is_held
        from pgqueue.idempotency_keys as held
        where held.scope = wanted_scope and held.key = wanted_key;
        if is_held then
            return holder;
        end if;

        -- Lock, then look again: a rival may have taken it over, a requeue may have brought its
        -- job back, a prune may have removed it; then the next round finds what there is.
        perform from pgqueue.idempotency_keys as held
        where held.scope = wanted_scope and held.key = wanted_key
        for update;
        update pgqueue.idempotency_keys as held
        set job_id = new_id, expires_at = ends
        where held.scope = wanted_scope and held.key = wanted_key
            and case
                when held.expires_at is not null then
                    held.expires_at <= pg_catalog.clock_timestamp()
                else coalesce((
                    select job.state in ('succeeded', 'dead', 'cancelled', 'expired')
                    from pgqueue.jobs as job
                    where job.id = held.job_id
                ), true)
            end;
        if found then
            return new_id;
        end if;
    end loop;
    raise exception using errcode = 'PQ002', message = 'key '
        || pg_catalog.to_json(wanted_key)::text
        || ' changed hands ten times while this call asked for it; try again';
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
    holder bigint;
    made record;
    ids bigint[];      -- by position: the id drawn for this job
    answers bigint[];  -- by position: the id to answer; null where no job has a key
    scopes text[];     -- the wanted keys, distinct: three arrays side by side
    keys text[];
    holders bigint[];
begin
    -- One job, the common case, has a short branch of its own.
    if pg_catalog.jsonb_typeof(document) <> 'array' then
        if not pgqueue.job_is_plain(document) then
            perform pgqueue.check_job(document, '');
        end if;
        ids[1] := pg_catalog.nextval('pgqueue.jobs_id_seq');
        if document ->> 'key' is not null then
            holder := pgqueue.take_key(
                coalesce(document ->> 'key_scope', document ->> 'task'),
                document ->> 'key',
                ids[1],
                clock + pg_catalog.make_interval(secs => (document ->> 'unique_for')::float8)
            );
            if holder <> ids[1] then
                return '{"id": ' || holder || ', "created": false}';
            end if;
            clock := pg_catalog.clock_timestamp();
        end if;
        insert into pgqueue.jobs (
            id, task, args, queue, priority, created_at, run_at, expires_at,
            max_attempts, timeout, key, key_scope, meta, version
        ) overriding system value values (
            ids[1],
            document ->> 'task',
            coalesce(document -> 'args', '{}'),
            coalesce(document ->> 'queue', 'default'),
            coalesce((document ->> 'priority')::smallint, 0),
            clock,
            greatest(
                clock,
                (document ->> 'run_at')::timestamptz,
                clock + pg_catalog.make_interval(
                    secs => pg_catalog.round((document ->> 'delay')::numeric, 6)::float8
                )
            ),
            (document ->> 'expires_at')::timestamptz,
            coalesce((document ->> 'max_attempts')::smallint, 8),
            (document ->> 'timeout')::float8,
            document ->> 'key',
            nullif(document ->> 'key_scope', document ->> 'task'),
            coalesce(document -> 'meta', '{}'),
            coalesce((document ->> 'version')::integer, 1)
        )
        returning queue, priority, run_at into made;
        if made.run_at <= clock and exists (
            select from pgqueue.sleepers as sleeper where sleeper.queue = made.queue
        ) then
            perform pg_catalog.pg_notify('pgqueue.' || made.queue, made.priority::text);
        end if;
        return '{"id": ' || ids[1] || ', "created": true}';
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
            select scope, key, pgqueue.take_key(scope, key, id, ends) as holder
            from (
                -- A key given twice in one call: the first job creates, the others get its id.
                select distinct on (scope, key)
                    coalesce(job ->> 'key_scope', job ->> 'task') collate "C" as scope,
                    (job ->> 'key') collate "C" as key,
                    ids[position] as id,
                    clock + pg_catalog.make_interval(secs => (job ->> 'unique_for')::float8) as ends
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
        greatest(
            clock,
            job.run_at,
            clock + pg_catalog.make_interval(secs => pg_catalog.round(job.delay, 6)::float8)
        ),
        job.expires_at,
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
            delay numeric, expires_at timestamptz, max_attempts smallint, timeout float8,
            key text, key_scope text, meta jsonb, version integer
        )
    ) with ordinality as job (
        task, args, queue, priority, run_at, delay, expires_at, max_attempts, timeout,
        key, key_scope, meta, version, position
    )
    where answers is null or answers[position] = ids[position];

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
                || (answers[position] = ids[position])::text || '}',
            ', ' order by position
        ) || ']'
        from pg_catalog.generate_subscripts(ids, 1) as position
    );
end
$$;

revoke execute on function pgqueue.take_key(text, text, bigint, timestamptz) from public;
revoke execute on function pgqueue.enqueue(text) from public;
