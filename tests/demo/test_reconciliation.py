"""The sums have teeth: each thing that may not happen is planted, and the right lines fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgqueue.demo import database, reconcile
from pgqueue.demo.app import QUEUE, count_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.connections import Connection

BODIES = {
    "plain": "one two, two_2: two -- été",
    "slow": "",
    "fails once": "once once",
    "fails always": "never",
}
ENDED = """
update pgqueue.jobs set finished_at = now(), lease = 4, attempt = 1,
    state = case when id = {always} then 'dead' else 'succeeded' end;

insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message, traceback)
values
    ({once}, 1, 1, 'retried', 'x.OnPurpose', 'once', 'here'),
    ({always}, 1, 1, 'retried', 'x.OnPurpose', 'always', 'here'),
    ({always}, 2, 2, 'retried', 'x.OnPurpose', 'always', 'here'),
    ({always}, 3, 3, 'dead', 'x.OnPurpose', 'always', 'here');
insert into pgqueue.attempts (job_id, lease, attempt, outcome, worker_id)
values ({slow}, 1, 1, 'rescued', 9);
insert into pgqueue_demo.killed (worker_id, process, job_id, lease, started_at)
values (9, 99, {slow}, 1, now()), (9, 99, {once}, 7, now());

insert into pgqueue_demo.counts
    (document_id, job_id, attempt, words, distinct_words, process)
values (1, {plain}, 1, 5, 4, 1), (2, {slow}, 1, 0, 0, 1), (3, {once}, 2, 2, 1, 1);
insert into pgqueue_demo.rolled_back (document_id, job_id, path) values (77, 777, 'undone');
"""


@pytest.fixture
def demo(dsn: str) -> Iterator[Connection]:
    """A demo of four documents that went as it should: document n has the job `jobs` n."""
    with database.prepared(dsn) as connection:
        jobs = {}
        for fate, body in BODIES.items():
            [(id_,)] = connection.execute(
                "insert into pgqueue_demo.documents (path, fate, body) values ('', %s, %s) "
                "returning id",
                [fate, body],
            ).fetchall()
            jobs[fate.split()[-1]] = count_words.using(connection).enqueue(document_id=id_).id
        connection.execute(ENDED.format(**jobs))
        yield connection


def failing(connection: Connection) -> set[int]:
    lines = reconcile.lines(connection)
    return {number for number, line in enumerate(lines, start=1) if not line.holds}


def test_a_demo_that_went_well_holds(demo: Connection) -> None:
    assert failing(demo) == set()
    numbers = {line.text: (line.expected, line.found) for line in reconcile.lines(demo)}
    assert numbers["documents committed = jobs succeeded + jobs dead"] == (4, 4)
    assert numbers["words in the stored text = words that handlers counted"] == (7, 7)
    assert numbers["failed attempts of dead jobs, each with its error"] == (3, 3)
    assert numbers["jobs rescued = rescued jobs that ended later"] == (1, 1)


JOB_OF = "(select id from pgqueue.jobs where args ->> 'document_id' = '{}')"


@pytest.mark.parametrize(
    ("lines", "planted"),
    [
        pytest.param(
            {6, 7, 9},
            "insert into pgqueue_demo.counts select * from pgqueue_demo.counts where words = 5",
            id="a document counted twice",
        ),
        pytest.param(
            {6, 7},
            "insert into pgqueue_demo.counts select * from pgqueue_demo.counts where words = 0",
            id="an empty document counted twice",
        ),
        pytest.param(
            {1, 2},
            "with lost as (delete from pgqueue.jobs where args ->> 'document_id' = '1') "
            "delete from pgqueue_demo.counts where document_id = 1",
            id="a job that was lost",
        ),
        pytest.param(
            {6, 9, 10},
            "delete from pgqueue_demo.counts where document_id = 1",
            id="an effect that was lost",
        ),
        pytest.param(
            {1, 2, 6},
            "insert into pgqueue.jobs (queue, task, state, args, finished_at) "
            f"values ('{QUEUE}', 'x', 'succeeded', '{{\"document_id\": 1}}', now())",
            id="a second job for a document",
        ),
        pytest.param(
            {1, 3, 6},
            "insert into pgqueue.jobs (queue, task, state, args, finished_at) "
            f"values ('{QUEUE}', 'x', 'succeeded', '{{\"document_id\": 99}}', now())",
            id="a job without a document",
        ),
        pytest.param(
            {3, 4, 5},
            "insert into pgqueue.jobs (queue, task, args) "
            f"values ('{QUEUE}', 'x', '{{\"document_id\": 77}}')",
            id="a job that outlived its rollback",
        ),
        pytest.param(
            {4},
            "update pgqueue_demo.rolled_back set job_id = " + JOB_OF.format(1),
            id="a job whose id was rolled back",
        ),
        pytest.param(
            {4},
            "update pgqueue_demo.rolled_back set document_id = 1",
            id="a document that outlived its rollback",
        ),
        pytest.param(
            {1, 5, 6, 8, 9},
            "update pgqueue.jobs set state = 'ready', finished_at = null "
            "where args ->> 'document_id' = '1'",
            id="a job that has not ended but has written",
        ),
        pytest.param(
            {6, 8, 9},
            "insert into pgqueue_demo.counts (document_id, job_id, attempt, words, "
            f"distinct_words, process) values (4, {JOB_OF.format(4)}, 1, 1, 1, 1)",
            id="a failed attempt whose write stayed",
        ),
        pytest.param(
            {9, 10},
            "update pgqueue_demo.counts set words = words + 1 where document_id = 1",
            id="a wrong count",
        ),
        pytest.param(
            {10},
            "update pgqueue_demo.counts set distinct_words = 5 where document_id = 1",
            id="a wrong count of distinct words",
        ),
        pytest.param(
            {10},
            "update pgqueue_demo.counts set words = 7 - words where document_id in (1, 3)",
            id="two counts exchanged",
        ),
        pytest.param(
            {10, 9},
            "update pgqueue_demo.documents set body = body || ' more' where id = 1",
            id="a text that is not the one that was counted",
        ),
        pytest.param(
            {1, 6, 8, 9},
            "update pgqueue.jobs set state = 'cancelled' where args ->> 'document_id' = '1'",
            id="a job that ended as it should not",
        ),
        pytest.param(
            {11, 14},
            "update pgqueue_demo.documents set fate = 'plain' where id = 4",
            id="a document that should not be dead",
        ),
        pytest.param(
            {12},
            "delete from pgqueue.attempts where outcome = 'dead'",
            id="a last attempt that was not recorded",
        ),
        pytest.param(
            {12, 14},
            "update pgqueue.attempts set error_type = null where outcome = 'dead'",
            id="a failure without its error",
        ),
        pytest.param(
            {13},
            f"delete from pgqueue.attempts where job_id = {JOB_OF.format(3)}",
            id="a retry that was not recorded",
        ),
        pytest.param(
            {14},
            "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message, "
            f"traceback) values ({JOB_OF.format(1)}, 1, 1, 'retried', 'x.OnPurpose', 'x', 'x')",
            id="a failure that nobody planned",
        ),
        pytest.param(
            {15},
            "delete from pgqueue.attempts where outcome = 'rescued'",
            id="no job was rescued",
        ),
        pytest.param(
            {15},
            "update pgqueue.attempts set worker_id = 8 where outcome = 'rescued'",
            id="jobs were rescued from another worker",
        ),
        pytest.param(
            {15},
            "update pgqueue_demo.killed set lease = lease + 1",
            id="what was rescued is not what was seen running",
        ),
        pytest.param(
            {16},
            "update pgqueue.jobs set lease = 2 where args ->> 'document_id' = '2'",
            id="a rescued job that did not run again",
        ),
    ],
)
def test_what_may_not_happen_fails_its_lines(
    demo: Connection, lines: set[int], planted: str
) -> None:
    demo.execute(planted)
    assert failing(demo) == lines


def test_jobs_of_other_queues_do_not_matter(demo: Connection) -> None:
    demo.execute("insert into pgqueue.jobs (queue, task) values ('default', 'x')")
    assert failing(demo) == set()
