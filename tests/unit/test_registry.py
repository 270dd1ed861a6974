"""Jobs of a task that this worker does not know: given back, and told of now and then."""

from __future__ import annotations

from hypothesis import given, strategies as st

from pgqueue.app import PgQueue
from pgqueue.worker.registry import FIRST_DELAY, LAST_DELAY, WARN_EVERY, Registry


def work() -> int:
    return 1


def test_a_registered_task_is_found_by_its_name() -> None:
    app = PgQueue("postgresql://nobody@nowhere.invalid/none")
    task = app.task(name="work")(work)
    registry = Registry(app.tasks)
    assert registry.find("work") is task
    assert registry.find("other") is None


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20), st.floats(0, 1e9))
def test_a_job_of_an_unknown_task_is_due_again_in_two_to_thirty_seconds(
    waits: list[float], now: float
) -> None:
    registry = Registry({})
    for wait in waits:
        now += wait
        assert 2 <= registry.missed("a", now) <= 30


def test_the_wait_grows_the_longer_nobody_knows_the_task() -> None:
    registry = Registry({})
    first = registry.missed("a", 100.0)
    late = registry.missed("a", 200.0)
    assert first < 4
    assert late >= LAST_DELAY * 0.8
    assert registry.missed("b", 200.0) < 4


@given(st.floats(0, 1e10))
def test_the_first_miss_is_told_at_once(now: float) -> None:
    registry = Registry({})
    registry.missed("a", now)
    registry.missed("a", now)
    [warning] = registry.warnings(now)
    assert (warning.task, warning.count) == ("a", 2)


def test_each_task_is_told_of_once_a_minute_with_what_came_meanwhile() -> None:
    registry = Registry({})
    registry.missed("a", 0.0)
    assert len(list(registry.warnings(0.0))) == 1
    for second in range(1, 4):
        registry.missed("a", float(second))
        registry.missed("b", float(second))
        told = [warning.task for warning in registry.warnings(float(second))]
        assert told == (["b"] if second == 1 else [])
    [warning] = [x for x in registry.warnings(WARN_EVERY) if x.task == "a"]
    assert warning.count == 3
    assert FIRST_DELAY <= warning.delay <= LAST_DELAY


def test_nothing_missed_is_nothing_told() -> None:
    assert list(Registry({}).warnings(1e6)) == []
