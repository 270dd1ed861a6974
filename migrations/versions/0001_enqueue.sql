-- pgqueue.enqueue(jobs text) returns text: the contract between producers and pgqueue.
--
-- In:   one job as a JSON object, or many as an array; members, defaults and limits: docs/enqueue.md
-- Out:  {"id": 1, "created": true}, or an array of these in the order given. created is false when
--       a job with the same key exists; id is then that job's.
-- Errors: PQ001 invalid document, the message starts with the path, as [3].priority;
--       PQ002 a key was taken from us in ten rounds. 22P02 and 22P05: not JSON at all.
--
-- It runs in the caller's transaction and with the caller's rights: no savepoint, no SET.
-- Locks, in this order: key rows, sorted by (scope, key); then the new rows of jobs. A key that
-- another open transaction holds is waited for. At READ COMMITTED no unique violation can arise.
-- NOTIFY takes a database-wide lock at commit: one only for queues in which a worker sleeps.

create function pgqueue.enqueue(jobs text) returns text
    language plpgsql
    volatile
    security invoker
as $$
declare
    document jsonb := jobs::jsonb;
    is_array constant boolean := pg_catalog.jsonb_typeof(document) = 'array';
    clock timestamptz := pg_catalog.clock_timestamp();
    made record;
    ids bigint[];      -- by position: the id drawn for this job
    answers bigint[];  -- by position: the id to answer; null where no job has a key
    scopes text[];     -- the wanted keys, distinct and sorted: four arrays side by side
    keys text[];
    key_ids bigint[];
    key_ends timestamptz[];
    holders bigint[];  -- by wanted key: the job that holds it; null while that is open
    answer text;
begin
    -- One job without a key, the common case, has a short branch of its own.
    if not is_array and document ->> 'key' is null then
        if not pgqueue.job_is_plain(document) then
            perform pgqueue.check_job(document, '');
        end if;
        insert into pgqueue.jobs (
            task, args, queue, priority, created_at, run_at, expires_at,
            max_attempts, timeout, meta, version
        ) values (
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
            coalesce(document -> 'meta', '{}'),
            coalesce((document ->> 'version')::integer, 1)
        )
        returning id, queue, priority, run_at into made;
        if made.run_at <= clock and exists (
            select from pgqueue.sleepers as sleeper where sleeper.queue = made.queue
        ) then
            perform pg_catalog.pg_notify('pgqueue.' || made.queue, made.priority::text);
        end if;
        return '{"id": ' || made.id || ', "created": true}';
    end if;

    if document = '[]' then
        return '[]';
    end if;
    if not is_array then
        document := pg_catalog.jsonb_build_array(document);
    end if;
    perform pgqueue.check_job(job, case when is_array then '[' || position - 1 || ']' else '' end)
    from pg_catalog.jsonb_array_elements(document) with ordinality as element (job, position)
    where not pgqueue.job_is_plain(job);

    ids := array(
        select pg_catalog.nextval('pgqueue.jobs_id_seq')
        from pg_catalog.generate_series(1, pg_catalog.jsonb_array_length(document))
    );

    if document @? '$[*].key' then
        select
            pg_catalog.array_agg(wanted.scope), pg_catalog.array_agg(wanted.key),
            pg_catalog.array_agg(wanted.id), pg_catalog.array_agg(wanted.ends)
        into scopes, keys, key_ids, key_ends
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
        ) as wanted;

        for round in 1..10 loop
            insert into pgqueue.idempotency_keys (scope, key, job_id, expires_at)
            select wanted.scope, wanted.key, wanted.id, wanted.ends
            from unnest(scopes, keys, key_ids, key_ends)
                as wanted (scope, key, id, ends)
            order by wanted.scope collate "C", wanted.key collate "C"
            on conflict do nothing;

            -- A statement of its own sees what a rival, waited for above, has committed.
            holders := array(
                select case
                    when held.job_id = wanted.id then held.job_id
                    when held.expires_at > pg_catalog.clock_timestamp() then held.job_id
                    when held.expires_at is null and (
                        select job.state not in ('succeeded', 'dead', 'cancelled', 'expired')
                        from pgqueue.jobs as job
                        where job.id = held.job_id
                    ) then held.job_id
                end
                from unnest(scopes, keys, key_ids)
                    with ordinality as wanted (scope, key, id, position)
                left join pgqueue.idempotency_keys as held
                    on held.scope = wanted.scope and held.key = wanted.key
                order by wanted.position
            );
            exit when pg_catalog.array_position(holders, null) is null;

            -- What is open belongs to a job that is final, or has vanished. Lock, then look again:
            -- a rival may have taken it over, a requeue may have brought its job back.
            perform from pgqueue.idempotency_keys as held
            where (held.scope, held.key) in (
                select wanted.scope, wanted.key
                from unnest(scopes, keys, holders) as wanted (scope, key, holder)
                where wanted.holder is null
            )
            order by held.scope, held.key
            for update;
            update pgqueue.idempotency_keys as held
            set job_id = wanted.id, expires_at = wanted.ends
            from unnest(scopes, keys, key_ids, key_ends, holders)
                as wanted (scope, key, id, ends, holder)
            where held.scope = wanted.scope and held.key = wanted.key and wanted.holder is null
                and case
                    when held.expires_at is not null then
                        held.expires_at <= pg_catalog.clock_timestamp()
                    else coalesce((
                        select job.state in ('succeeded', 'dead', 'cancelled', 'expired')
                        from pgqueue.jobs as job
                        where job.id = held.job_id
                    ), true)
                end;
        end loop;
        if pg_catalog.array_position(holders, null) is not null then
            raise exception using errcode = 'PQ002', message = 'key '
                || pg_catalog.to_json(keys[pg_catalog.array_position(holders, null)])::text
                || ' changed hands ten times while this call asked for it; try again';
        end if;
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
        job ->> 'task',
        coalesce(job -> 'args', '{}'),
        coalesce(job ->> 'queue', 'default'),
        coalesce((job ->> 'priority')::smallint, 0),
        clock,
        greatest(
            clock,
            (job ->> 'run_at')::timestamptz,
            clock + pg_catalog.make_interval(
                secs => pg_catalog.round((job ->> 'delay')::numeric, 6)::float8
            )
        ),
        (job ->> 'expires_at')::timestamptz,
        coalesce((job ->> 'max_attempts')::smallint, 8),
        (job ->> 'timeout')::float8,
        job ->> 'key',
        nullif(job ->> 'key_scope', job ->> 'task'),
        coalesce(job -> 'meta', '{}'),
        coalesce((job ->> 'version')::integer, 1)
    from pg_catalog.jsonb_array_elements(document) with ordinality as element (job, position)
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
        answer := '{"id": '
            || pg_catalog.array_to_string(ids, ', "created": true}, {"id": ')
            || ', "created": true}';
    else
        answer := (
            select pg_catalog.string_agg(
                '{"id": ' || answers[position] || ', "created": '
                    || (answers[position] = ids[position])::text || '}',
                ', ' order by position
            )
            from pg_catalog.generate_subscripts(ids, 1) as position
        );
    end if;
    return case when is_array then '[' || answer || ']' else answer end;
end
$$;

revoke execute on function pgqueue.enqueue(text) from public;
