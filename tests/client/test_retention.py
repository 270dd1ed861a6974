"""Retention from Python: seen, set, and pruned by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import ConfigError, InvalidName, PgQueue, housekeeping, pruning
from pgqueue.retention import DAY
from pgqueue.views import RetentionRule

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Make = Callable[..., int]


@pytest.fixture
def ended(make_job: Make, connection: psycopg.Connection[Any]) -> Make:
    """Inserts a job that was made and ended so many days ago."""

    def make(state: str, days: float, **columns: Any) -> int:
        [(at,)] = connection.execute(
            "select clock_timestamp() - make_interval(secs => %s)", [days * DAY]
        )
        return make_job(state, created_at=at, finished_at=at, **columns)

    return make


@pytest.fixture
def said(connection: psycopg.Connection[Any], app: PgQueue) -> None:
    """What a worker says at its start."""
    pruning.announce(connection, app.settings, [])


def left(connection: psycopg.Connection[Any]) -> list[int]:
    return [id_ for (id_,) in connection.execute("select id from pgqueue.jobs order by id")]


def test_rules_are_set_seen_and_taken_back(app: PgQueue) -> None:
    assert app.retention.all() == []
    rule = app.retention.set("t", "dead", timedelta(days=30))
    assert rule == RetentionRule("t", "dead", 30 * DAY, "operator")
    assert app.retention.set("*", "succeeded", None).keep is None
    assert [(each.task, each.state) for each in app.retention.all()] == [
        ("*", "succeeded"),
        ("t", "dead"),
    ]
    assert app.retention.reset("t", "dead")
    assert not app.retention.reset("t", "dead")


def test_what_cannot_hold_is_refused_before_any_sql() -> None:
    with PgQueue("host=nowhere.invalid") as app:
        with pytest.raises(InvalidName):
            app.retention.set("two words", "dead", 1)
        with pytest.raises(ConfigError, match="only jobs that have ended"):
            app.retention.set("t", "running", 1)
        with pytest.raises(ConfigError, match="expected seconds"):
            app.retention.set("t", "dead", -1)
        with pytest.raises(ConfigError, match="only jobs that have ended"):
            app.retention.prune(states=["ready"])
        with pytest.raises(ConfigError, match="expected seconds"):
            app.retention.preview(older_than=-1)


def test_before_anybody_has_said_anything_nothing_goes(
    app: PgQueue, ended: Make, connection: psycopg.Connection[Any]
) -> None:
    kept = ended("succeeded", 1000)
    assert app.retention.prune() == 0
    assert app.retention.preview() == {}
    assert left(connection) == [kept]


@pytest.mark.usefixtures("said")
def test_a_prune_by_hand_deletes_what_its_preview_counted(
    app: PgQueue, ended: Make, connection: psycopg.Connection[Any]
) -> None:
    app.retention.set("own", "dead", timedelta(days=1))
    kept = [ended("dead", 99), ended("cancelled", 3)]
    for state, task in (("succeeded", "t"), ("succeeded", "t"), ("expired", "t"), ("dead", "own")):
        ended(state, 9, task=task)
    kept.append(ended("succeeded", 0.5))
    assert app.retention.preview() == {
        ("t", "succeeded"): 2,
        ("t", "expired"): 1,
        ("own", "dead"): 1,
    }
    assert len(left(connection)) == 7
    assert app.retention.prune() == 4
    assert left(connection) == kept


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize(
    ("states", "gone"), [((), {1, 2}), (("dead",), {0}), (("dead", "succeeded"), {0, 1})]
)
def test_by_age_dead_jobs_go_only_by_name(
    app: PgQueue,
    ended: Make,
    connection: psycopg.Connection[Any],
    states: Any,
    gone: set[int],
) -> None:
    jobs = [ended(state, 0.5) for state in ("dead", "succeeded", "cancelled")]
    young = ended("succeeded", 0.1)
    terms: dict[str, Any] = {"older_than": timedelta(hours=6), "states": states}
    assert sum(app.retention.preview(**terms).values()) == len(gone)
    assert app.retention.prune(**terms) == len(gone)
    assert left(connection) == [*(jobs[at] for at in sorted({0, 1, 2} - gone)), young]


@pytest.mark.usefixtures("said")
def test_it_goes_part_by_part_and_says_how_far(
    app: PgQueue, ended: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(pruning.Measure):
        def __init__(self) -> None:
            super().__init__()
            self.size = 2

        def note(self, part: pruning.Part, took: float) -> None: ...

    monkeypatch.setattr(housekeeping, "Measure", Small)
    for _ in range(5):
        ended("succeeded", 2)
    so_far: list[int] = []
    assert sum(app.retention.preview().values()) == 5
    assert app.retention.prune(on_progress=so_far.append) == 5
    assert so_far == [2, 4, 5]


def test_status_says_how_upkeep_stands(
    app: PgQueue, ended: Make, connection: psycopg.Connection[Any]
) -> None:
    upkeep = app.inspector.status().upkeep
    assert (str(upkeep.dead), upkeep.oldest_dead, upkeep.prune_ran) == ("0", None, None)
    assert upkeep.warnings() == []
    ended("dead", 40)
    connection.execute(
        "insert into pgqueue.steps values ('prune', clock_timestamp(), '{\"overdue\": 7200}')"
    )
    upkeep = app.inspector.status().upkeep
    assert (upkeep.dead.value, upkeep.overdue) == (1, 7200.0)
    assert upkeep.prune_ran is not None
    assert upkeep.prune_ran < 60
    old, behind = upkeep.warnings()
    assert old.startswith("1 dead jobs are kept, one for 40 days: ")
    assert behind.startswith("prune is 2.0 h behind")
