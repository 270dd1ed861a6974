"""When an idle worker looks again, and when it would rather not be notified."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pgqueue.worker.pace import FAST, FAST_POLL, FULL_FOR, SLOW, WINDOW, Pace


def at_rate(pace: Pace, start: float, rate: float) -> float:
    """Claim at so many jobs a second for one window and a bit; when it ended."""
    end = start + WINDOW * 1.01
    pace.claimed(int(rate * WINDOW * 1.01), end)
    return end


def test_a_new_worker_polls_at_its_interval_give_or_take_a_third() -> None:
    pauses = [Pace(1.5, 0.0).pause(0.0) for _ in range(500)]
    assert 1.0 <= min(pauses) < 1.1
    assert 1.9 < max(pauses) <= 2.0


def test_while_jobs_come_fast_it_looks_every_few_milliseconds() -> None:
    pace = Pace(1.5, 0.0)
    at_rate(pace, 0.0, FAST * 1.1)
    assert pace.fast
    assert pace.pause(0.0) == FAST_POLL


def test_between_slow_and_fast_it_stays_as_it_was() -> None:
    pace = Pace(1.5, 0.0)
    middle = (FAST + SLOW) / 2
    now = at_rate(pace, 0.0, middle)
    seen = [pace.fast]
    for rate in (FAST * 2, middle, SLOW / 2):
        now = at_rate(pace, now, rate)
        seen.append(pace.fast)
    assert seen == [False, True, True, False]


def test_looking_in_vain_ends_the_fast_looks() -> None:
    pace = Pace(1.5, 0.0)
    now = at_rate(pace, 0.0, FAST * 10)
    for _ in range(int(WINDOW / FAST_POLL) + 2):
        now += FAST_POLL
        pace.claimed(0, now)
    assert not pace.fast


def test_one_large_batch_is_measured_over_the_window_and_not_at_once() -> None:
    pace = Pace(1.5, 0.0)
    pace.claimed(500, 0.001)
    assert not pace.fast
    pace.claimed(0, WINDOW * 2)
    assert not pace.fast


def test_a_worker_is_full_only_after_a_while_without_room() -> None:
    pace = Pace(1.5, 0.0)
    pace.room(0, 10.0)
    assert not pace.full(10.0 + FULL_FOR / 2)
    pace.room(-3, 10.0 + FULL_FOR / 2)
    assert pace.full(10.1 + FULL_FOR)
    pace.room(1, 12.0)
    assert not pace.full(99.0)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 10)), max_size=50))
def test_a_pause_is_never_long_nor_negative(claims: list[tuple[int, float]]) -> None:
    pace, now = Pace(1.5, 0.0), 0.0
    for count, passed in claims:
        now += passed
        pace.claimed(count, now)
        assert 0 < pace.pause(0.0) <= 1.5 * 1.33


def test_it_looks_when_a_job_is_due_again_and_then_as_ever() -> None:
    pace = Pace(1.5, 0.0)
    for at in (0.7, 0.1, 0.4):
        assert pace.expect(at, 0.0) == at
    assert pace.pause(0.0) == pytest.approx(0.1)
    assert pace.pause(0.1) == pytest.approx(0.3)
    assert pace.pause(0.5) == pytest.approx(0.2)
    assert pace.pause(0.7) >= 1.0


def test_a_look_for_another_job_does_not_put_off_the_one_that_is_expected() -> None:
    pace = Pace(1.5, 0.0)
    pace.expect(0.5, 0.0)
    pace.claimed(1, 0.2)
    assert pace.pause(0.2) == pytest.approx(0.3)


def test_what_is_due_after_the_next_looks_is_not_remembered() -> None:
    pace = Pace(1.5, 0.0)
    pace.expect(3600.0, 0.0)
    assert pace.pause(3599.9) >= 1.0
