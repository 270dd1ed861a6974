"""What apps say of retention, and what operators set, in the table that prune reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import pruning, store
from pgqueue.config import Settings
from pgqueue.telemetry import events
from pgqueue.telemetry.events import Event, Events
from pgqueue.worker.steps.dead import EVERY, NAME, WatchDead
from tests.store.tables import SETTINGS, Background, Tables, turns

if TYPE_CHECKING:
    from pgqueue.connections import Connection

DEFAULTS = [
    ("*", "cancelled", 604800.0, "default"),
    ("*", "dead", None, "default"),
    ("*", "expired", 604800.0, "default"),
    ("*", "succeeded", 86400.0, "default"),
]


def rules(connection: Connection) -> list[tuple[Any, ...]]:
    return store.run(connection, SETTINGS, "retention_list")


def test_an_app_s_words_are_written_and_the_last_start_wins(own: Connection) -> None:
    pruning.announce(own, SETTINGS, [("a", {"succeeded": 5.0, "dead": None}), ("b", {})])
    assert rules(own) == [
        *DEFAULTS,
        ("a", "dead", None, "app"),
        ("a", "succeeded", 5.0, "app"),
    ]
    other = Settings(retention={"succeeded": 60})
    pruning.announce(own, other, [("a", {"succeeded": 9.0})])
    assert rules(own) == [
        *DEFAULTS[:3],
        ("*", "succeeded", 60.0, "app"),
        ("a", "succeeded", 9.0, "app"),
    ]


def test_an_app_that_says_nothing_overrules_nobody(own: Connection) -> None:
    pruning.announce(own, Settings(retention={"succeeded": 60}), [])
    pruning.announce(own, SETTINGS, [])
    assert rules(own) == [*DEFAULTS[:3], ("*", "succeeded", 60.0, "app")]


def test_tasks_of_another_app_are_left_alone(own: Connection) -> None:
    pruning.announce(own, SETTINGS, [("a", {"dead": 5.0})])
    pruning.announce(own, SETTINGS, [("b", {})])
    assert ("a", "dead", 5.0, "app") in rules(own)


def test_what_an_operator_set_no_app_changes(own: Connection) -> None:
    for task, state, keep in (("a", "dead", 7.0), ("*", "succeeded", None)):
        values = {"task": task, "state": state, "keep": keep}
        store.run(own, SETTINGS, "retention_set", values)
    for said in ({"dead": 5.0}, {}):
        pruning.announce(own, SETTINGS, [("a", said)])  # type: ignore[list-item]
        assert ("a", "dead", 7.0, "operator") in rules(own)
        assert ("*", "succeeded", None, "operator") in rules(own)


def test_an_operator_takes_back_only_what_was_set(own: Connection) -> None:
    pruning.announce(own, SETTINGS, [])
    asked = {"task": "*", "state": "succeeded"}
    assert store.run(own, SETTINGS, "retention_reset", asked) == []
    store.run(own, SETTINGS, "retention_set", asked | {"keep": 1.0})
    assert store.run(own, SETTINGS, "retention_reset", asked) == [("*",)]
    pruning.announce(own, SETTINGS, [])
    assert rules(own) == DEFAULTS


def test_a_start_that_says_nothing_new_writes_nothing(own: Connection, tables: Tables) -> None:
    said: list[Any] = [("a", {"dead": 5.0}), ("b", {"succeeded": None})]
    pruning.announce(own, SETTINGS, said)
    query = "select task, state, xmin::text, ctid::text from pgqueue.retention order by 1, 2"
    before = tables.run(query)
    pruning.announce(own, SETTINGS, said)
    assert tables.run(query) == before


def test_two_workers_that_start_at_once_say_it_one_after_the_other(
    own: Connection, other: Connection, tables: Tables
) -> None:
    first, second = (("a", {"dead": 1.0}), ("b", {"dead": 1.0})), (("b", {"dead": 2.0}),)
    with other.transaction():
        pruning.announce(other, SETTINGS, first)  # type: ignore[arg-type]
        waiting = Background(lambda: pruning.announce(own, SETTINGS, second))  # type: ignore[arg-type]
        tables.wait_for_lock("the second")
    waiting.result()
    assert [rule[2] for rule in rules(own) if rule[0] in "ab"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("count", "age", "warns"), [(1, 31, True), (1, 29, False), (1000, 0, True), (999, 0, False)]
)
def test_many_or_old_dead_jobs_are_worth_a_warning_an_hour(
    own: Connection, other: Connection, tables: Tables, count: int, age: int, warns: bool
) -> None:
    store.run(own, SETTINGS, "add_steps", {"names": [NAME]})
    tables.run(
        "insert into pgqueue.jobs (task, state, finished_at) "
        "select 't', s, now() - make_interval(days => %s) "
        "from generate_series(1, %s), unnest(array['cancelled', 'dead']) as s",
        age,
        count,
    )
    told: list[Event] = []
    for connection in (own, other):
        if NAME in turns(connection, **{NAME: EVERY}):
            WatchDead(SETTINGS, Events(told.append))(connection)
    assert [type(event) for event in told] == [events.DeadJobsKept] * warns
    for event in told:
        assert isinstance(event, events.DeadJobsKept)
        assert (event.count, event.more) == (count, False)
        assert age * 86_400 <= event.oldest < age * 86_400 + 100
