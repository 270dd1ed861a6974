"""Lists, counts and one job in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.errors import ConfigError
from pgqueue.views import Count, JobFilter, shown_state

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgqueue.app import PgQueue

    Make = Callable[..., int]


def listed(app: PgQueue, *, limit: int = 50, after: int | None = None, **parts: Any) -> list[int]:
    return [job.id for job in app.inspector.jobs(JobFilter(**parts), limit=limit, after=after)]


def test_a_list_is_newest_first_and_continues_after_an_id(app: PgQueue, make_job: Make) -> None:
    ids = [make_job() for _ in range(5)]
    assert listed(app, limit=2) == [ids[4], ids[3]]
    assert listed(app, limit=2, after=ids[3]) == [ids[2], ids[1]]
    assert listed(app, after=ids[0]) == []


def test_a_filter_matches_all_of_its_parts(app: PgQueue, make_job: Make) -> None:
    wanted = make_job("dead", queue="a", task="x")
    make_job("ready", queue="a", task="x")
    make_job("dead", queue="b", task="x")
    make_job("dead", queue="a", task="y")
    assert listed(app, states=["dead"], queues=["a"], tasks=["x"]) == [wanted]
    assert len(listed(app, states=["dead", "ready"])) == 4


def test_a_state_that_does_not_exist_is_refused() -> None:
    states: Any = ["failed"]
    with pytest.raises(ConfigError, match="state 'failed': expected one of ready"):
        JobFilter(states=states)


def test_arguments_in_a_list_are_cut(app: PgQueue, make_job: Make) -> None:
    make_job(args='{"x": "' + "y" * 1000 + '"}')
    [job] = app.inspector.jobs(JobFilter())
    assert len(job.args) == 200


def test_ids_are_read_page_by_page_up_to_a_limit(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 2100)")
    assert list(app.inspector.ids(JobFilter())) == list(range(1, 2101))
    assert list(app.inspector.ids(JobFilter(), limit=1001)) == list(range(1, 1002))
    assert list(app.inspector.ids(JobFilter(queues=["none"]))) == []


def test_a_job_is_shown_with_its_attempts_oldest_first(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", args='{"x": [1, null]}', result="null", key="k", timeout=1.5)
    for lease in (4, 2):
        connection.execute(
            "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type) "
            "values (%s, %s, 1, 'retried', 'ValueError')",
            [job_id, lease],
        )
    job = app.job(job_id)
    assert (job.state, job.args, job.key, job.timeout) == ("dead", {"x": [1, None]}, "k", 1.5)
    assert [attempt.lease for attempt in job.attempts] == [2, 4]
    assert job.attempts[0].error_type == "ValueError"


def test_what_cannot_be_decoded_is_shown_as_text(app: PgQueue, make_job: Make) -> None:
    number = "9" * 5000
    job = app.job(make_job(args='{"n": ' + number + "}"))
    assert job.args == '{"n": ' + number + "}"


def test_the_database_s_clock_says_who_waits(app: PgQueue, make_job: Make) -> None:
    make_job(run_at="2999-01-01 12:00+00", attempt=2)
    make_job(run_at="2999-01-01 12:00+00")
    make_job()
    words = [job.shown_state.split(" 2999")[0] for job in app.inspector.jobs(JobFilter())]
    assert words == ["ready", "waiting until", "retrying at"]


@pytest.mark.parametrize("state", ["running", "dead", "succeeded"])
def test_only_a_ready_job_waits(app: PgQueue, make_job: Make, state: Any) -> None:
    job = app.job(make_job(state, run_at="2999-01-01"))
    assert job.waiting
    assert job.shown_state == state
    assert shown_state(state, job.run_at, waiting=True, attempt=1) == state


def test_status_counts_by_queue(app: PgQueue, make_job: Make) -> None:
    make_job(queue="a", priority=5, run_at="2024-01-01")
    make_job(queue="a", priority=-5)
    make_job(queue="a", run_at="2999-01-01")
    make_job("running", queue="a")
    make_job("dead", queue="b")
    make_job("cancelled", queue="b")
    make_job("succeeded", queue="c")
    first, second = app.inspector.status().queues
    assert (first.queue, first.ready, first.waiting, first.running) == (
        "a",
        Count(2),
        Count(1),
        Count(1),
    )
    assert first.oldest_due is not None
    assert first.oldest_due > 365 * 86400
    assert (second.queue, second.oldest_due) == ("b", None)
    assert second.ended == {"dead": Count(1), "cancelled": Count(1)}


def test_counts_stop_and_say_so(app: PgQueue, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "insert into pgqueue.jobs (task, queue, state, run_at, worker_id) "
        "select 't', queue, state, run_at::timestamptz, 1 from generate_series(1, 10002), "
        "(values ('due', 'ready', '2024-01-01'), ('later', 'ready', '2999-01-01'), "
        "('run', 'running', '2024-01-01'), ('end', 'dead', '2024-01-01')) "
        "as kind (queue, state, run_at)"
    )
    due, end, later, run = app.inspector.status().queues
    assert [str(due.ready), str(later.waiting), str(run.running)] == ["10k+", "10k+", "10k+"]
    assert str(end.ended["dead"]) == "10k+"


def test_a_count_below_the_cap_is_exact() -> None:
    assert str(Count.capped(10_000)) == "10000"
    assert str(Count.capped(10_001)) == "10k+"
    assert str(Count(37, more=True)) == "37+"


def test_reads_have_a_time_limit(app: PgQueue) -> None:
    with app.inspector._reading() as connection:
        limits = connection.exec_driver_sql(
            "select current_setting('statement_timeout'), current_setting('lock_timeout')"
        ).one()
    assert tuple(limits) == ("10s", "2s")
