-- What must hold when the demo is over, from the stored text and by other means than the handler:
-- the words are found by PostgreSQL's own regular expressions. The demo makes this a function:
-- select * from pgqueue_demo.reconciliation();
with job as materialized (
    select
        id, state, lease, max_attempts, finished_at,
        (args ->> 'document_id')::bigint as document_id
    from pgqueue.jobs
    where queue = 'pgqueue_demo'
),
failure as materialized (
    select
        attempt.job_id,
        attempt.outcome,
        attempt.error_type like '%OnPurpose' and attempt.message <> '' and attempt.traceback <> ''
            as explained
    from pgqueue.attempts as attempt
    join job on job.id = attempt.job_id
    where attempt.outcome in ('retried', 'dead')
),
rescue as materialized (
    select killed.worker_id, killed.job_id, killed.lease
    from pgqueue_demo.killed as killed
    join pgqueue.attempts as attempt
        on attempt.job_id = killed.job_id
        and attempt.lease = killed.lease
        and attempt.worker_id = killed.worker_id
        and attempt.outcome = 'rescued'
),
counted_here as materialized (
    select document.id, here.words, here.distinct_words
    from pgqueue_demo.documents as document
    cross join lateral (
        select count(*) as words, count(distinct word collate "C") as distinct_words
        from regexp_split_to_table(document.body, '[^A-Za-z0-9_]+') as word
        where word <> ''
    ) as here
    where exists (
        select from job where job.document_id = document.id and job.state = 'succeeded'
    )
),
line (number, line, expected, found) as (
    values
    (
        1, 'documents committed = jobs succeeded + jobs dead',
        (select count(*) from pgqueue_demo.documents),
        (select count(*) from job where state in ('succeeded', 'dead'))
    ),
    (
        2, 'committed documents that have not exactly one job',
        0,
        (
            select count(*) from pgqueue_demo.documents as document
            where (select count(*) from job where job.document_id = document.id) <> 1
        )
    ),
    (
        3, 'jobs without a committed document',
        0,
        (
            select count(*) from job
            where not exists (
                select from pgqueue_demo.documents as document where document.id = job.document_id
            )
        )
    ),
    (
        4, 'jobs and documents of transactions that rolled back',
        0,
        (
            select
                count(*) filter (
                    where exists (select from pgqueue.jobs where id = undone.job_id)
                    or exists (select from job where job.document_id = undone.document_id)
                )
                + count(*) filter (
                    where exists (
                        select from pgqueue_demo.documents where id = undone.document_id
                    )
                )
            from pgqueue_demo.rolled_back as undone
        )
    ),
    (
        5, 'jobs that have not ended',
        0,
        (select count(*) from job where finished_at is null)
    ),
    (
        6, 'jobs succeeded = counts written',
        (select count(*) from job where state = 'succeeded'),
        (select count(*) from pgqueue_demo.counts)
    ),
    (
        7, 'counts of a document that was counted before',
        0,
        (select count(*) - count(distinct document_id) from pgqueue_demo.counts)
    ),
    (
        8, 'counts by a job that did not succeed',
        0,
        (
            select count(*) from pgqueue_demo.counts as counted
            where not exists (
                select from job
                where job.id = counted.job_id
                    and job.document_id = counted.document_id
                    and job.state = 'succeeded'
            )
        )
    ),
    (
        9, 'words in the stored text = words that handlers counted',
        (select coalesce(sum(words), 0)::bigint from counted_here),
        (select coalesce(sum(words), 0)::bigint from pgqueue_demo.counts)
    ),
    (
        10, 'documents whose words or distinct words differ',
        0,
        (
            select count(*)
            from counted_here
            left join pgqueue_demo.counts as counted on counted.document_id = counted_here.id
            where (counted.words, counted.distinct_words)
                is distinct from (counted_here.words, counted_here.distinct_words)
        )
    ),
    (
        11, 'documents that always fail = jobs dead',
        (select count(*) from pgqueue_demo.documents where fate = 'fails always'),
        (select count(*) from job where state = 'dead')
    ),
    (
        12, 'failed attempts of dead jobs, each with its error',
        (select coalesce(sum(max_attempts), 0)::bigint from job where state = 'dead'),
        (
            select count(*) from failure
            join job on job.id = failure.job_id
            where failure.explained and job.state = 'dead'
        )
    ),
    (
        13, 'documents that fail once = retries with an error',
        (select count(*) from pgqueue_demo.documents where fate = 'fails once'),
        (
            select count(*) from failure
            join job on job.id = failure.job_id
            join pgqueue_demo.documents as document on document.id = job.document_id
            where failure.explained and failure.outcome = 'retried'
                and document.fate = 'fails once' and job.state = 'succeeded'
        )
    ),
    (
        14, 'failed attempts that nobody planned',
        0,
        (
            select count(*) from failure
            join job on job.id = failure.job_id
            left join pgqueue_demo.documents as document on document.id = job.document_id
            where document.fate in ('fails once', 'fails always') is not true
                or failure.explained is not true
        )
    ),
    (
        15, 'workers killed while jobs of theirs ran, with jobs rescued',
        1,
        (select count(distinct worker_id) from rescue)
    ),
    (
        16, 'jobs rescued = rescued jobs that ended later',
        (select count(*) from rescue),
        (
            select count(*) from rescue
            join job on job.id = rescue.job_id
            where job.finished_at is not null and job.lease > rescue.lease + 1
        )
    )
)
select line.number, line.line, line.expected, line.found, line.expected = line.found as holds
from line
order by line.number
