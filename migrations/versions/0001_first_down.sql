-- Without CASCADE: what somebody built on these objects is theirs, and stops the downgrade.
drop view pgqueue.slow_tasks;
drop view pgqueue.dead_jobs;
drop view pgqueue.queue_stats;
drop view pgqueue.job_overview;
drop function pgqueue.enqueue(text);
drop function pgqueue.take_key(text, text, bigint, timestamptz);
drop function pgqueue.check_job(jsonb, text);
drop function pgqueue.job_is_plain(jsonb);
drop function pgqueue.is_instant(jsonb);
drop table pgqueue.steps;
drop table pgqueue.lanes;
drop table pgqueue.sleepers;
drop table pgqueue.idempotency_keys;
drop table pgqueue.workers;
drop table pgqueue.attempts;
drop table pgqueue.jobs;
