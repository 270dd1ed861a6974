-- Without CASCADE: what somebody built on these objects is theirs, and stops the downgrade.
drop function pgqueue.enqueue(text);
drop function pgqueue.refuse_full(text[]);
drop function pgqueue.meet_holder(bigint, jsonb);
drop function pgqueue.take_key(text, text, bigint, timestamptz, text);
drop function pgqueue.key_is_held(timestamptz, text, text, smallint, timestamptz);
drop function pgqueue.check_job(jsonb, text);
drop function pgqueue.job_is_plain(jsonb);
drop function pgqueue.due_at(jsonb, timestamptz);
drop function pgqueue.is_instant(jsonb);
drop table pgqueue.steps;
drop table pgqueue.queues;
drop table pgqueue.lanes;
drop table pgqueue.sleepers;
drop table pgqueue.idempotency_keys;
drop table pgqueue.workers;
drop table pgqueue.attempts;
drop table pgqueue.jobs;
