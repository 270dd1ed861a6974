"""How many attempts wait beyond the slots: none of slow jobs, many of fast ones."""

from __future__ import annotations

from hypothesis import given, strategies as st

from pgqueue.worker.executors.backlog import HORIZON, MOST, Backlog


def after(backlog: Backlog, rate: float, seconds: float, step: float) -> int:
    """The size after so many seconds of attempts that end at a rate."""
    size, now = 0, 0.0
    while now < seconds:
        now += step
        size = backlog.size(int(rate * now), 10, now)
    return size


def test_a_worker_that_has_run_nothing_holds_nothing_back() -> None:
    assert Backlog().size(0, 0, 5.0) == 0


def test_jobs_of_a_second_leave_no_backlog() -> None:
    assert after(Backlog(), rate=1, seconds=20, step=0.5) == 0


def test_fast_jobs_leave_a_horizon_of_work() -> None:
    size = after(Backlog(), rate=10_000, seconds=1, step=0.01)
    assert abs(size - 10_000 * HORIZON) < 50


def test_the_fastest_jobs_leave_two_exchanges_and_not_more() -> None:
    assert after(Backlog(), rate=1e6, seconds=1, step=0.01) == MOST


def test_an_idle_hour_does_not_make_the_next_jobs_look_slow() -> None:
    backlog = Backlog()
    busy = after(backlog, rate=10_000, seconds=1, step=0.01)
    ended = backlog._ended
    for second in range(10):
        assert backlog.size(ended, 0, 100.0 + second) == busy
    assert backlog.size(ended + 200, 10, 109.02) > busy * 0.9


def test_jobs_that_turn_slow_lose_their_backlog() -> None:
    backlog = Backlog()
    after(backlog, rate=10_000, seconds=1, step=0.01)
    ended = backlog._ended
    sizes = [backlog.size(ended, 10, 1.0 + step / 10) for step in range(1, 20)]
    assert sizes[-1] == 0


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.floats(0, 5))))
def test_the_size_is_never_negative_nor_beyond_the_most(
    steps: list[tuple[int, int, float]],
) -> None:
    backlog, ended, now = Backlog(), 0, 0.0
    for more, in_hand, passed in steps:
        ended, now = ended + more, now + passed
        assert 0 <= backlog.size(ended, in_hand, now) <= MOST
