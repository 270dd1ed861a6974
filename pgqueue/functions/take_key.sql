-- Who holds an idempotency key, and what an enqueue does to that job.
--
-- key_is_held  the one rule, for enqueue, requeue and the sweep of old keys: a key is held until
--              its window is over (expires_at; null: it has none) and until its job is finished or
--              has started (until; null: whatever becomes of the job), whichever comes first. The
--              state of a job that is gone is null.
-- take_key     makes a key name the new job, unless it is held; answers with its holder's id.
-- meet_holder  does to the holder what on_conflict says, and answers what was done: existing
--              (nothing), replaced, rescheduled; null when it does not hold the key any more.
--
-- Locks: take_key locks the key's row, and waits for whoever has it. meet_holder locks the job,
-- unless it has started: until the caller's transaction ends no worker can claim it, so whatever
-- that transaction writes is there when the job starts.

create function pgqueue.key_is_held(
    expires_at timestamptz, until text, state text, attempt smallint, moment timestamptz
)
    returns boolean
    language sql
    immutable
as $$
    select (expires_at is null or expires_at > moment) and case until
        when 'finished' then
            coalesce(state not in ('succeeded', 'dead', 'cancelled', 'expired'), false)
        when 'started' then coalesce(state in ('ready', 'blocked') and attempt = 0, false)
        else true
    end
$$;

create function pgqueue.take_key(
    wanted_scope text, wanted_key text, new_id bigint, ends timestamptz, wanted_until text
)
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
        insert into pgqueue.idempotency_keys (scope, key, job_id, expires_at, until)
        values (wanted_scope, wanted_key, new_id, ends, wanted_until)
        on conflict do nothing;
        if found then
            return new_id;
        end if;

        -- A statement of its own sees what a rival, waited for above, has committed.
        select held.job_id, pgqueue.key_is_held(
            held.expires_at, held.until, job.state, job.attempt, pg_catalog.clock_timestamp()
        )
        into holder, is_held
        from pgqueue.idempotency_keys as held
        left join pgqueue.jobs as job on job.id = held.job_id
        where held.scope = wanted_scope and held.key = wanted_key;
        if is_held then
            return holder;
        end if;

        -- Lock, then look again: a rival may have taken it over, a requeue may have brought its
        -- job back, a sweep may have removed it; then the next round finds what there is.
        perform from pgqueue.idempotency_keys as held
        where held.scope = wanted_scope and held.key = wanted_key
        for update;
        update pgqueue.idempotency_keys as held
        set job_id = new_id, expires_at = ends, until = wanted_until
        where held.scope = wanted_scope and held.key = wanted_key
            and not (
                select pgqueue.key_is_held(
                    held.expires_at, held.until, job.state, job.attempt,
                    pg_catalog.clock_timestamp()
                )
                from (select held.job_id as id) as named
                left join pgqueue.jobs as job on job.id = named.id
            );
        if found then
            return new_id;
        end if;
    end loop;
    raise exception using errcode = 'PQ002', message = 'key '
        || pg_catalog.to_json(wanted_key)::text
        || ' changed hands ten times while this call asked for it; try again';
end
$$;

create function pgqueue.meet_holder(holder bigint, wanted jsonb) returns text
    language plpgsql
    volatile
    security invoker
as $$
declare
    policy constant text := coalesce(wanted ->> 'on_conflict', 'existing');
    clock constant timestamptz := pg_catalog.clock_timestamp();
    changed record;
begin
    if policy = 'raise' then
        raise exception using errcode = 'PQ004', message = 'job ' || holder || ' holds the key '
            || pg_catalog.to_json(wanted ->> 'key')::text || ' in scope "'
            || coalesce(wanted ->> 'key_scope', wanted ->> 'task') || '": nothing was enqueued';
    elsif policy = 'replace' then
        update pgqueue.jobs as job
        set args = coalesce(wanted -> 'args', '{}'),
            meta = coalesce(wanted -> 'meta', '{}'),
            version = coalesce((wanted ->> 'version')::integer, 1)
        where job.id = holder and job.state in ('ready', 'blocked') and job.attempt = 0;
    elsif policy = 'reschedule' then
        update pgqueue.jobs as job
        set args = coalesce(wanted -> 'args', '{}'),
            meta = coalesce(wanted -> 'meta', '{}'),
            version = coalesce((wanted ->> 'version')::integer, 1),
            run_at = pgqueue.due_at(wanted, clock),
            expires_at = pgqueue.expires_at(wanted, clock)
        where job.id = holder and job.state in ('ready', 'blocked') and job.attempt = 0
        returning job.queue, job.priority, job.run_at into changed;
    elsif wanted ->> 'until' = 'started' then
        perform from pgqueue.jobs as job
        where job.id = holder and job.state in ('ready', 'blocked') and job.attempt = 0
        for no key update;
    end if;

    if not found then
        -- A claim came first, or the job ended. If it holds the key all the same, it stays as is.
        return (
            select case when pgqueue.key_is_held(
                held.expires_at, held.until, job.state, job.attempt, pg_catalog.clock_timestamp()
            ) then 'existing' end
            from pgqueue.idempotency_keys as held
            left join pgqueue.jobs as job on job.id = held.job_id
            where held.scope = coalesce(wanted ->> 'key_scope', wanted ->> 'task')
                and held.key = wanted ->> 'key'
                and held.job_id = holder
        );
    end if;
    if policy = 'reschedule' then
        if changed.run_at <= clock and exists (
            select from pgqueue.sleepers as sleeper where sleeper.queue = changed.queue
        ) then
            perform pg_catalog.pg_notify('pgqueue.' || changed.queue, changed.priority::text);
        end if;
    end if;
    return case policy when 'replace' then 'replaced' when 'reschedule' then 'rescheduled'
        else 'existing' end;
end
$$;

revoke execute on function
    pgqueue.key_is_held(timestamptz, text, text, smallint, timestamptz) from public;
revoke execute on function pgqueue.take_key(text, text, bigint, timestamptz, text) from public;
revoke execute on function pgqueue.meet_holder(bigint, jsonb) from public;
