"""Jobs that ended badly: found by error and time, grouped by cause, at a bounded cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import queries
from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError
from pgqueue.views import Count, JobFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Select

    from pgqueue.views import JobGroup
    from tests.servers import Databases

    Make = Callable[..., int]

A, B = "a" * 16, "b" * 16
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def died(make_job: Make, connection: psycopg.Connection[Any]) -> Make:
    """A job that ended badly, with the attempt that ended it, and one before."""

    def make(fingerprint: str = A, *, at: datetime = NOON, **columns: Any) -> int:
        error = columns.pop("error", "ValueError")
        message = columns.pop("message", "bad")
        values = {"state": "dead", "lease": 4, "finished_at": at, **columns}
        job_id = make_job(**values)
        connection.execute(
            "insert into pgqueue.attempts "
            "(job_id, lease, attempt, outcome, error_type, message, fingerprint) "
            "values (%(id)s, 1, 1, 'retried', 'Earlier', 'not this', %(other)s), "
            "(%(id)s, 3, 2, 'dead', %(error)s, %(message)s, %(fingerprint)s)",
            {
                "id": job_id,
                "other": "c" * 16,
                "error": error,
                "message": message,
                "fingerprint": fingerprint,
            },
        )
        return job_id

    return make


def grouped(app: PgQueue, **parts: Any) -> list[JobGroup]:
    return list(app.inspector.groups(JobFilter(**{"states": ["dead"], **parts})).groups)


def test_the_largest_group_comes_first_with_what_its_jobs_share(app: PgQueue, died: Make) -> None:
    other = died(B, error="KeyError")
    ids = [died(message=f"bad {n}", at=NOON + timedelta(minutes=n)) for n in range(5)]
    first, second = grouped(app)
    assert (first.fingerprint, first.error_type, first.jobs) == (A, "ValueError", Count(5))
    assert (first.state, first.task, first.queue) == ("dead", "t", "default")
    assert (first.message, first.ids) == ("bad 4", ids[:1:-1])
    assert (first.first_at, first.last_at) == (NOON, NOON + timedelta(minutes=4))
    assert (second.fingerprint, second.ids) == (B, [other])


def test_tasks_and_queues_are_told_apart(app: PgQueue, died: Make) -> None:
    died(task="a"), died(task="b"), died(task="a", queue="q")
    assert {(group.task, group.queue) for group in grouped(app)} == {
        ("a", "default"),
        ("b", "default"),
        ("a", "q"),
    }


def test_jobs_of_which_nothing_is_recorded_are_a_group_too(app: PgQueue, make_job: Make) -> None:
    make_job("expired"), make_job("expired")
    [group] = grouped(app, states=["expired"])
    assert (group.fingerprint, group.error_type, group.message) == (None, None, None)
    assert (group.jobs, group.state) == (Count(2), "expired")


def test_a_filter_chooses_what_is_grouped(app: PgQueue, died: Make) -> None:
    died(at=NOON)
    wanted = died(at=NOON + timedelta(hours=2))
    for parts in (
        {"since": NOON + timedelta(hours=1)},
        {"since": NOON + timedelta(hours=2), "until": NOON + timedelta(hours=3)},
    ):
        [group] = grouped(app, **parts)
        assert group.ids == [wanted]
    assert grouped(app, until=NOON) == []
    assert grouped(app, fingerprints=[B]) == grouped(app, error_types=["Earlier"]) == []
    assert grouped(app, queues=["none"]) == grouped(app, tasks=["none"]) == []


def test_named_jobs_are_grouped_alone(app: PgQueue, died: Make) -> None:
    ids = [died() for _ in range(3)]
    groups = app.inspector.groups(ids=ids[:2])
    assert (groups.groups[0].jobs, groups.sampled) == (Count(2), Count(2))
    assert app.inspector.groups(ids=[]).groups == []


def test_a_message_is_cut(app: PgQueue, died: Make) -> None:
    died(message="x" * 1000)
    assert grouped(app)[0].message == "x" * 200


@pytest.mark.parametrize("state", ["ready", "running", "succeeded"])
def test_other_states_have_no_causes(app: PgQueue, state: Any) -> None:
    with pytest.raises(ConfigError, match="expected dead, cancelled, expired"):
        app.inspector.groups(JobFilter(states=[state]))


def test_a_large_desk_is_a_sample_and_says_so(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "insert into pgqueue.jobs (task, state) "
        "select case when n <= 5 then 'old' else 'new' end, 'dead' from generate_series(1, 10006) n"
    )
    groups = app.inspector.groups()
    assert [(group.task, str(group.jobs)) for group in groups.groups] == [("new", "10k+")]
    assert str(groups.sampled) == "10k+"
    row = connection.execute("select task, jobs, sampled from pgqueue.dead_groups").fetchone()
    assert row == ("new", 10_001, 10_001)
    [old] = app.inspector.groups(JobFilter(states=["dead"], tasks=["old"])).groups
    assert old.jobs == Count(5)


def test_the_view_says_the_same(
    app: PgQueue, died: Make, connection: psycopg.Connection[Any]
) -> None:
    died(), died(), died(B, task="u", queue="q")
    columns = "fingerprint, queue, task, error_type, jobs, message, first_at, last_at, ids"
    query = f"select {columns}, sampled from pgqueue.dead_groups order by jobs desc"
    assert connection.execute(query.encode()).fetchall() == [
        (
            *(each.fingerprint, each.queue, each.task, each.error_type, each.jobs.value),
            *(each.message, each.first_at, each.last_at, each.ids, 3),
        )
        for each in grouped(app)
    ]


# Lists


def found(app: PgQueue, **parts: Any) -> list[int]:
    which = JobFilter(**parts)
    listed = [job.id for job in app.inspector.jobs(which)]
    assert list(app.inspector.ids(which)) == listed[::-1]
    return listed


def test_jobs_are_found_by_the_error_that_ended_them(app: PgQueue, died: Make) -> None:
    first, second = died(), died(B, error="shop.Sold", state="expired")
    assert found(app, fingerprints=[A]) == [first]
    assert found(app, fingerprints=[A, B]) == [second, first]
    assert found(app, error_types=["shop.Sold"]) == [second]
    assert found(app, error_types=["shop.Sold"], states=["dead"]) == []
    assert found(app, error_types=["Earlier"]) == []


def test_a_job_that_is_retried_is_found_by_its_last_error_where_states_say_so(
    app: PgQueue, died: Make
) -> None:
    retried = died(state="ready")
    assert found(app, fingerprints=[A]) == []
    assert found(app, fingerprints=[A], states=["ready"]) == [retried]


def test_jobs_are_found_by_the_time_of_their_end(app: PgQueue, died: Make) -> None:
    before = died(at=NOON - timedelta(seconds=1))
    at, after = died(at=NOON), died(at=NOON + timedelta(hours=1), state="succeeded")
    assert found(app, since=NOON, states=["dead"]) == [at]
    assert found(app, until=NOON) == [before]
    assert found(app, since=NOON) == [after, at]


def test_a_walk_goes_on_where_its_last_window_ended(
    app: PgQueue, died: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "WINDOW", 3)
    wanted = [died(fingerprint) for fingerprint in (A, B, B, B, B, A, B, A, A)]
    expected = [wanted[place] for place in (8, 7, 5, 0)]
    assert found(app, fingerprints=[A]) == expected
    which = JobFilter(fingerprints=[A])
    assert [job.id for job in app.inspector.jobs(which, limit=2)] == expected[:2]
    assert [job.id for job in app.inspector.jobs(which, after=expected[1])] == expected[2:]
    assert list(app.inspector.ids(which, limit=3)) == expected[:0:-1]


@pytest.mark.parametrize(
    "parts",
    [
        {"fingerprints": ["xyz"]},
        {"fingerprints": [A.upper()]},
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is the mistake
        {"since": NOON, "until": NOON},
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(parts: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        JobFilter(**parts)


# Costs


@pytest.fixture(scope="module")
def large(databases: Databases, template: str) -> Iterator[PgQueue]:
    """A table in which a walk through it would show in the plan; with statistics and without."""
    with (
        databases.fresh(template) as dsn,
        psycopg.connect(dsn, autocommit=True) as connection,
        PgQueue(dsn) as app,
    ):
        for table in ("jobs", "attempts"):
            stop = f"alter table pgqueue.{table} set (autovacuum_enabled = off)"
            connection.execute(stop.encode())
        connection.execute(
            "insert into pgqueue.jobs (task, state, lease, finished_at) select 't', "
            "case when n % 10 = 0 then 'dead' else 'succeeded' end, 2, now() "
            "from generate_series(1, 40000) as n"
        )
        connection.execute(
            "insert into pgqueue.attempts (job_id, lease, attempt, outcome) "
            "select id, 1, 1, 'dead' from pgqueue.jobs where state = 'dead'"
        )
        yield app


EVERYTHING = JobFilter(
    states=["dead"], queues=["q"], tasks=["t"], fingerprints=[A], error_types=["E"], since=NOON
)
QUERIES: dict[str, Callable[[], Select[Any]]] = {
    "groups": lambda: queries.groups(JobFilter(states=["dead"])),
    "groups of everything": lambda: queries.groups(EVERYTHING),
    "groups of ids": lambda: queries.groups_of([1, 2, 3], EVERYTHING),
    "window": lambda: queries.window(EVERYTHING, None, newest_first=True),
    "next window": lambda: queries.window(EVERYTHING, 7000, newest_first=False),
}


@pytest.mark.parametrize("statistics", ["no", "new"])
@pytest.mark.parametrize("name", QUERIES)
def test_the_desk_walks_along_indexes(large: PgQueue, name: str, statistics: str) -> None:
    plan = explained(large, QUERIES[name](), analyze=statistics == "new")
    assert "Seq Scan on jobs" not in plan, plan
    assert "Seq Scan on attempts" not in plan, plan
    assert f"using {'jobs_pkey' if name == 'groups of ids' else 'jobs_ended_badly'} on jobs" in plan
    assert "using attempts_pkey on attempts" in plan, plan
    assert "Hash Join" not in plan, plan


def explained(app: PgQueue, query: Select[Any], *, analyze: bool) -> str:
    with app.inspector._walking() as connection:
        if analyze:
            connection.exec_driver_sql("analyze pgqueue.jobs, pgqueue.attempts")
        made = query.compile(connection, compile_kwargs={"render_postcompile": True})
        rows = connection.exec_driver_sql(f"explain {made}", made.params)
        plan = "\n".join(row[0] for row in rows)
        connection.rollback()
    return plan
