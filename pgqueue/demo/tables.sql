-- The demo's own schema. The next demo in this database drops it.
create schema pgqueue_demo;
comment on schema pgqueue_demo is 'made by pgqueue demo';

-- The business table: a row and the job that processes it are one commit.
create table pgqueue_demo.documents (
    id bigint generated always as identity primary key,
    path text not null,
    fate text not null check (fate in ('plain', 'slow', 'fails once', 'fails always')),
    body text not null
);

-- What handlers write. Without a unique constraint, so that a double effect would show.
create table pgqueue_demo.counts (
    document_id bigint not null,
    job_id bigint not null,
    attempt smallint not null,
    words bigint not null,
    distinct_words bigint not null,
    process integer not null,
    counted_at timestamptz not null default clock_timestamp()
);

-- The ids that transactions were given which then rolled back on purpose.
create table pgqueue_demo.rolled_back (
    document_id bigint not null,
    job_id bigint not null,
    path text not null
);

-- What pgqueue.jobs showed a worker running right before it was sent SIGKILL.
create table pgqueue_demo.killed (
    worker_id bigint not null,
    process integer not null,
    job_id bigint not null,
    lease bigint not null,
    started_at timestamptz not null,
    killed_at timestamptz not null default clock_timestamp()
);
