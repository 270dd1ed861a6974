-- The rules for one job of an enqueue document.
--
-- is_instant    whether a value can be cast to timestamptz and lies within the limits of jobs.
-- due_at        when a valid job is due, if it is enqueued at the clock's time.
-- expires_at    when a valid job expires, likewise; null for never.
-- job_is_plain  true means: valid, for certain. The fast test; one SQL expression, so that the
--               planner puts it into the statements that use it.
-- check_job     the rules themselves, with their words. Called for what the fast test did not
--               pass: raises PQ001 with the path, or returns, for the job was valid after all.
--
-- No locks, no tables. Comparing jsonb with jsonb tests type and range at once: numbers sort apart
-- from all other types. A null where null is the default is the same as nothing. In the patterns
-- no {n} with a large n: {1,128} alone costs 7 us a test.

create function pgqueue.is_instant(moment jsonb) returns boolean
    language sql
    stable
as $$
    -- Each test makes the next one safe: shape, then calendar, then the instant.
    select case
        when pg_catalog.jsonb_typeof(moment) <> 'string' then false
        when (moment #>> '{}') collate "C" !~ (
            '^(1999|[2-8][0-9]{3}|9000)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]'
            '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?'
            '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$'
        ) then false
        when pg_catalog.substr(moment #>> '{}', 9, 2) > '28'
            and pg_catalog.substr(moment #>> '{}', 9, 2)::integer > extract(
                day from pg_catalog.make_date(
                    pg_catalog.substr(moment #>> '{}', 1, 4)::integer,
                    pg_catalog.substr(moment #>> '{}', 6, 2)::integer,
                    1
                ) + interval '1 month' - interval '1 day'
            ) then false
        else (moment #>> '{}')::timestamptz
            between '2000-01-01 00:00:00+00' and '9000-01-01 00:00:00+00'
    end
$$;

create function pgqueue.due_at(job jsonb, clock timestamptz) returns timestamptz
    language sql
    stable
as $$
    select greatest(
        clock,
        (job ->> 'run_at')::timestamptz,
        clock + pg_catalog.make_interval(
            secs => pg_catalog.round((job ->> 'delay')::numeric, 6)::float8
        )
    )
$$;

create function pgqueue.expires_at(job jsonb, clock timestamptz) returns timestamptz
    language sql
    stable
as $$
    select case
        when job ->> 'ttl' is null then (job ->> 'expires_at')::timestamptz
        else least(
            pgqueue.due_at(job, clock) + pg_catalog.make_interval(
                secs => pg_catalog.round((job ->> 'ttl')::numeric, 6)::float8
            ),
            '9000-01-01 00:00:00+00'
        )
    end
$$;

create function pgqueue.job_is_plain(job jsonb) returns boolean
    language sql
    stable
as $$
    select coalesce(
        pg_catalog.jsonb_typeof(job) = 'object'
        and pg_catalog.jsonb_typeof(job -> 'task') = 'string'
        and pg_catalog.octet_length(job ->> 'task') between 1 and 128
        and (job ->> 'task') collate "C" !~ '[^A-Za-z0-9_.:-]'
        and coalesce(pg_catalog.jsonb_typeof(job -> 'args') = 'object', true)
        and (
            job - '{task,args}'::text[] = '{}'
            or (
                job - '{v,task,args,queue,priority,delay,run_at,ttl,max_attempts,timeout,key,'
                    'unique_for,until,on_conflict,meta,version}'::text[] = '{}'
                and coalesce(job -> 'v' = '1', true)
                and coalesce(
                    pg_catalog.jsonb_typeof(job -> 'queue') = 'string'
                    and pg_catalog.octet_length(job ->> 'queue') between 1 and 50
                    and (job ->> 'queue') collate "C" !~ '[^A-Za-z0-9_.:-]',
                    true
                )
                and coalesce(
                    job -> 'priority' between '-100' and '100'
                    and pg_catalog.strpos(job ->> 'priority', '.') = 0,
                    true
                )
                and coalesce(
                    job -> 'max_attempts' between '1' and '10000'
                    and pg_catalog.strpos(job ->> 'max_attempts', '.') = 0,
                    true
                )
                and coalesce(
                    job -> 'version' between '1' and '2147483647'
                    and pg_catalog.strpos(job ->> 'version', '.') = 0,
                    true
                )
                and coalesce(job -> 'timeout' between '0.001' and '31536000', true)
                and coalesce(job -> 'delay' between '0' and '315360000', true)
                and coalesce(job -> 'ttl' between '0.001' and '315360000', true)
                and coalesce(pg_catalog.jsonb_typeof(job -> 'meta') = 'object', true)
                and (
                    job -> 'run_at' is null
                    or (job -> 'delay' is null and pgqueue.is_instant(job -> 'run_at'))
                )
                and case when job -> 'key' is null then
                    coalesce(job -> 'unique_for', job -> 'until', job -> 'on_conflict') is null
                else
                    pg_catalog.jsonb_typeof(job -> 'key') = 'string'
                    and pg_catalog.octet_length(job ->> 'key') between 1 and 512
                    and (job ->> 'key') collate "C" !~ '[\u0001-\u001f\u007f-\u009f]'
                    and coalesce(job -> 'unique_for' between '0.001' and '315360000', true)
                    and coalesce(job -> 'until' in ('"finished"', '"started"'), true)
                    and coalesce(
                        job -> 'on_conflict' in
                            ('"existing"', '"raise"', '"replace"', '"reschedule"'),
                        true
                    )
                end
            )
        ),
        false
    )
$$;

create function pgqueue.check_job(job jsonb, path text) returns void
    language plpgsql
    volatile
as $$
declare
    known constant text[] := '{v,task,args,queue,priority,delay,run_at,expires_at,ttl,'
        'max_attempts,timeout,key,key_scope,unique_for,until,on_conflict,meta,version}';
    foreign_character constant text := '[^A-Za-z0-9_.:-]';
    member text;
    expected text;
    due timestamptz := pg_catalog.clock_timestamp();
begin
    if pg_catalog.jsonb_typeof(job) <> 'object' then
        raise exception using errcode = 'PQ001', message =
            case path when '' then 'the document' else path end || ': '
            || pg_catalog.left(job::text, 160)
            || ' is refused; expected an object with at least a "task"';
    end if;

    -- The first member that breaks its rule.
    if job - known <> '{}' then
        select pg_catalog.min(given) into member
        from pg_catalog.jsonb_object_keys(job - known) as given;
        expected := 'no such member; known are ' || pg_catalog.array_to_string(known, ', ');
    else
        member := case
            when job -> 'v' <> '1' then 'v'
            when pg_catalog.jsonb_typeof(job -> 'task') is distinct from 'string'
                or pg_catalog.octet_length(job ->> 'task') not between 1 and 128
                or (job ->> 'task') collate "C" ~ foreign_character then 'task'
            when pg_catalog.jsonb_typeof(job -> 'args') <> 'object' then 'args'
            when pg_catalog.jsonb_typeof(job -> 'queue') <> 'string'
                or pg_catalog.octet_length(job ->> 'queue') not between 1 and 50
                or (job ->> 'queue') collate "C" ~ foreign_character then 'queue'
            when not job -> 'priority' between '-100' and '100'
                or pg_catalog.strpos(job ->> 'priority', '.') > 0 then 'priority'
            when job ->> 'delay' is not null
                and not job -> 'delay' between '0' and '315360000' then 'delay'
            when job ->> 'run_at' is not null and (
                not pgqueue.is_instant(job -> 'run_at') or job ->> 'delay' is not null
            ) then 'run_at'
            when job ->> 'expires_at' is not null
                and not pgqueue.is_instant(job -> 'expires_at') then 'expires_at'
            when job ->> 'ttl' is not null and (
                not job -> 'ttl' between '0.001' and '315360000'
                or job ->> 'expires_at' is not null
            ) then 'ttl'
            when not job -> 'max_attempts' between '1' and '10000'
                or pg_catalog.strpos(job ->> 'max_attempts', '.') > 0 then 'max_attempts'
            when job ->> 'timeout' is not null
                and not job -> 'timeout' between '0.001' and '31536000' then 'timeout'
            when job ->> 'key' is not null and (
                pg_catalog.jsonb_typeof(job -> 'key') <> 'string'
                or pg_catalog.octet_length(job ->> 'key') not between 1 and 512
                or (job ->> 'key') collate "C" ~ '[\u0001-\u001f\u007f-\u009f]'
            ) then 'key'
            when job ->> 'key_scope' is not null and (
                pg_catalog.jsonb_typeof(job -> 'key_scope') <> 'string'
                or pg_catalog.octet_length(job ->> 'key_scope') not between 1 and 128
                or (job ->> 'key_scope') collate "C" ~ foreign_character
                or job ->> 'key' is null
            ) then 'key_scope'
            when job ->> 'unique_for' is not null and (
                not job -> 'unique_for' between '0.001' and '315360000'
                or job ->> 'key' is null
            ) then 'unique_for'
            when job ->> 'until' is not null and (
                job -> 'until' not in ('"finished"', '"started"') or job ->> 'key' is null
            ) then 'until'
            when job -> 'on_conflict' not in ('"existing"', '"raise"', '"replace"', '"reschedule"')
                or (job ->> 'key' is null and job ->> 'on_conflict' <> 'existing')
                then 'on_conflict'
            when pg_catalog.jsonb_typeof(job -> 'meta') <> 'object' then 'meta'
            when not job -> 'version' between '1' and '2147483647'
                or pg_catalog.strpos(job ->> 'version', '.') > 0 then 'version'
        end;
        expected := case member
            when 'v' then '1; for a newer document run pgqueue migrate'
            when 'task' then 'a name of 1 to 128 characters of A-Z a-z 0-9 _ . : -'
            when 'args' then 'an object'
            when 'queue' then 'a name of 1 to 50 characters of A-Z a-z 0-9 _ . : -'
            when 'priority' then 'an integer from -100 to 100'
            when 'delay' then 'seconds from 0 to 315360000 (ten years)'
            when 'run_at' then 'no delay besides, and a time from 2000 to 9000 in ISO 8601 with an '
                'offset, such as 2030-01-31T12:00:00+00:00'
            when 'expires_at' then 'a time from 2000 to 9000 in ISO 8601 with an offset, such as '
                '2030-01-31T12:00:00+00:00'
            when 'ttl' then 'no expires_at besides, and seconds from 0.001 to 315360000 '
                '(ten years)'
            when 'max_attempts' then 'an integer from 1 to 10000'
            when 'timeout' then 'seconds from 0.001 to 31536000 (a year), or null'
            when 'key' then 'text of 1 to 512 bytes without control characters'
            when 'key_scope' then 'a key besides, and a name of 1 to 128 characters of '
                'A-Z a-z 0-9 _ . : -'
            when 'unique_for' then 'a key besides, and seconds from 0.001 to 315360000 (ten years)'
            when 'until' then 'a key besides, and finished or started'
            when 'on_conflict' then 'existing, or with a key besides raise, replace or reschedule'
            when 'meta' then 'an object'
            when 'version' then 'an integer from 1 to 2147483647'
        end;
    end if;

    if member is null and job ->> 'expires_at' is not null then
        due := pgqueue.due_at(job, due);
        if (job ->> 'expires_at')::timestamptz <= due then
            member := 'expires_at';
            expected := 'a time after ' || pg_catalog.to_json(due)::text || ', when the job is due';
        end if;
    end if;

    if member is not null then
        raise exception using errcode = 'PQ001', message =
            case path when '' then '' else path || '.' end || pg_catalog.left(member, 80) || ': '
            || coalesce(pg_catalog.left((job -> member)::text, 160), 'nothing')
            || ' is refused; expected ' || expected;
    end if;
end
$$;

revoke execute on function pgqueue.is_instant(jsonb) from public;
revoke execute on function pgqueue.due_at(jsonb, timestamptz) from public;
revoke execute on function pgqueue.expires_at(jsonb, timestamptz) from public;
revoke execute on function pgqueue.job_is_plain(jsonb) from public;
revoke execute on function pgqueue.check_job(jsonb, text) from public;
