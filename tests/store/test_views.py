"""The views: what they say of jobs, and that they stay cheap on large tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.app import PgQueue

if TYPE_CHECKING:
    from tests.servers import Databases
    from tests.store.tables import Tables

SECRET = ("args", "meta", "result", "key", "key_scope", "traceback")


def overview(tables: Tables, columns: str, job_id: int) -> tuple[Any, ...]:
    [row] = tables.run(f"select {columns} from pgqueue.job_overview where id = %s", job_id)
    return row


@pytest.mark.parametrize(
    ("state", "columns", "due_for", "shown"),
    [
        ("ready", {}, 60, "ready"),
        ("ready", {"attempt": 1}, 60, "ready"),
        ("ready", {}, -3600, "waiting"),
        ("ready", {"attempt": 1}, -3600, "retrying"),
        ("running", {"worker_id": 1}, 60, "running"),
        ("dead", {"attempt": 1}, -3600, "dead"),
        ("blocked", {}, -3600, "blocked"),
    ],
)
def test_a_state_is_shown_as_people_read_it(
    tables: Tables, dsn: str, state: str, columns: dict[str, Any], due_for: float, shown: str
) -> None:
    job_id = tables.job(state, due_for=due_for, **columns)
    assert overview(tables, "state, shown_state", job_id) == (state, shown)
    with PgQueue(dsn) as app:
        assert app.job(job_id).shown_state.split(" ")[0] == shown


def test_age_wait_and_duration(tables: Tables) -> None:
    def made(state: str, **columns: Any) -> tuple[Any, ...]:
        job_id = tables.job(state, worker_id=1, **columns)
        tables.run(
            "update pgqueue.jobs set created_at = statement_timestamp() - interval '100 s', "
            "run_at = statement_timestamp() - interval '60 s', "
            "started_at = case when state <> 'ready' then statement_timestamp() - interval '50 s' "
            "end, finished_at = case when state = 'succeeded' then "
            "statement_timestamp() - interval '20 s' end where id = %s",
            job_id,
        )
        row = overview(tables, "age, wait, duration", job_id)
        return tuple(part and timedelta(seconds=part.total_seconds() // 10 * 10) for part in row)

    seconds = [timedelta(seconds=n) for n in (100, 60, 50, 30, 10)]
    age, since_due, running, took, waited = seconds
    assert made("ready") == (age, since_due, None)
    assert made("running") == (age, waited, running)
    assert made("succeeded") == (age, waited, took)


def test_the_last_error_and_the_worker_are_named(tables: Tables) -> None:
    worker = tables.worker("host-7")
    job_id = tables.job("running", worker_id=worker)
    for lease, message in ((2, "first"), (4, "x" * 300)):
        tables.run(
            "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message) "
            "values (%s, %s, 1, 'retried', 'ValueError', %s)",
            job_id,
            lease,
            message,
        )
    expected = ("ValueError: " + "x" * 200, "host-7")
    assert overview(tables, "last_error, worker", job_id) == expected


def test_dead_jobs_are_the_dead_ones_with_their_last_error(tables: Tables) -> None:
    tables.job("cancelled")
    job_id = tables.job("dead", attempt=3)
    tables.run(
        "insert into pgqueue.attempts "
        "(job_id, lease, attempt, outcome, worker, error_type, message) "
        "values (%s, 6, 3, 'dead', 'w', 'LookupError', 'gone')",
        job_id,
    )
    crashed = tables.job("dead", crash_count=3)
    query = "select id, attempt, crash_count, error_type, message, worker from pgqueue.dead_jobs"
    assert tables.run(f"{query} order by id") == [
        (job_id, 3, 0, "LookupError", "gone", "w"),
        (crashed, 0, 3, None, None, None),
    ]


def test_queue_stats_and_status_agree(tables: Tables, dsn: str) -> None:
    for priority in (5, 0, 0, -5):
        tables.job(queue="a", priority=priority)
    tables.job(queue="a", due_for=3600)
    tables.job(queue="a", due_for=-3600)
    tables.job("running", queue="b", worker_id=1)
    for state in ("dead", "dead", "cancelled", "expired", "succeeded"):
        tables.job(state, queue="c")
    tables.job("succeeded", queue="quiet")
    columns = "queue, ready, waiting, running, dead, cancelled, expired"
    rows = tables.run(f"select {columns} from pgqueue.queue_stats order by queue")
    assert rows == [("a", 5, 1, 0, 0, 0, 0), ("b", 0, 0, 1, 0, 0, 0), ("c", 0, 0, 0, 2, 1, 1)]
    with PgQueue(dsn) as app:
        queues = app.inspector.status().queues
    assert rows == [
        (
            queue.queue,
            queue.ready.value,
            queue.waiting.value,
            queue.running.value,
            *(queue.ended[state].value if state in queue.ended else 0 for state in ENDED),
        )
        for queue in queues
    ]
    [(oldest,)] = tables.run("select oldest_due from pgqueue.queue_stats where queue = 'a'")
    assert timedelta(hours=1) <= oldest < timedelta(hours=1, minutes=5)


ENDED = ("dead", "cancelled", "expired")


def test_counts_stop(tables: Tables) -> None:
    tables.run("insert into pgqueue.jobs (task) select 't' from generate_series(1, 10005)")
    tables.run(
        "insert into pgqueue.jobs (task, run_at) select 't', '2999-01-01' "
        "from generate_series(1, 10005)"
    )
    assert tables.run("select ready, waiting from pgqueue.queue_stats") == [(10001, 10001)]


def test_slow_tasks_measure_what_finished_in_the_last_hour(tables: Tables) -> None:
    tables.run(
        "insert into pgqueue.jobs (task, state, started_at, finished_at) "
        "select task, state, finished_at - took * interval '1 s', finished_at "
        "from (values ('slow', 'succeeded', 10, 1), ('slow', 'succeeded', 20, 1), "
        "('slow', 'dead', 90, 1), ('old', 'succeeded', 99, 7200), ('fast', 'succeeded', 1, 1), "
        "('cancelled', 'cancelled', 1, 1)) as job (task, state, took, ago), "
        "lateral (select clock_timestamp() - ago * interval '1 s' as finished_at) as at"
    )
    columns = "task, jobs, dead, extract(epoch from median), extract(epoch from longest)"
    rows = tables.run(f"select {columns} from pgqueue.slow_tasks order by total desc")
    assert rows == [("slow", 3, 1, 20, 90), ("fast", 1, 0, 1, 1)]


def test_no_view_shows_what_jobs_carry(tables: Tables) -> None:
    query = (
        "select table_name, column_name from information_schema.columns join "
        "information_schema.views using (table_schema, table_name) where table_schema = 'pgqueue'"
    )
    columns = tables.run(query)
    assert {view for view, _ in columns} >= {"job_overview", "dead_jobs"}
    assert [column for _, column in columns if column in SECRET] == []


LANE = """select * from pgqueue.job_overview where state = 'ready' and queue = 'q1'
    order by priority desc, run_at, id limit 50"""

# Costs: a large history, where a walk through the table would show in the plan.


@pytest.fixture(scope="module")
def large(databases: Databases, template: str) -> Any:
    with (
        databases.fresh(template) as dsn,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        connection.execute(
            "insert into pgqueue.jobs (task, queue, state, started_at, finished_at, worker_id) "
            "select 't', 'q' || n % 3, case when n % 500 = 0 then 'dead' when n > 59900 then "
            "'ready' when n > 59800 then 'running' else 'succeeded' end, now(), now(), 1 "
            "from generate_series(1, 60000) as n"
        )
        connection.execute("vacuum analyze pgqueue.jobs")
        yield connection


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("select * from pgqueue.job_overview order by id desc limit 50", "jobs_pkey"),
        ("select * from pgqueue.job_overview where id = 7", "jobs_pkey"),
        ("select * from pgqueue.job_overview where state = 'running'", "jobs_running"),
        (
            "select * from pgqueue.job_overview where state = 'dead' order by id desc limit 50",
            "jobs_ended_badly",
        ),
        (
            LANE,
            "jobs_claim",
        ),
        ("select * from pgqueue.queue_stats", "jobs_claim"),
        ("select * from pgqueue.dead_jobs order by id desc limit 50", "jobs_ended_badly"),
        ("select * from pgqueue.slow_tasks", "jobs_pkey"),
    ],
)
def test_a_view_walks_through_no_table(
    large: psycopg.Connection[Any], query: str, index: str
) -> None:
    if "slow_tasks" in query:  # of 60,000 jobs it reads them all, and may do so in any way
        query = query.replace("pgqueue.slow_tasks", "pgqueue.slow_tasks where task = 't'")
        large.execute("set enable_seqscan = off")
    plan = "\n".join(row[0] for row in large.execute(f"explain {query}".encode()))
    large.execute("reset enable_seqscan")
    assert f"using {index} on jobs" in plan, plan
    assert "Seq Scan on jobs" not in plan, plan


def test_what_is_not_selected_is_not_looked_up(large: psycopg.Connection[Any]) -> None:
    query = b"explain select id, shown_state from pgqueue.job_overview order by id desc limit 50"
    plan = "\n".join(row[0] for row in large.execute(query))
    assert "attempts" not in plan
    assert "workers" not in plan
