"""Retry rules: whatever the attempt, a wait that PostgreSQL can add to a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgqueue.errors import ConfigError
from pgqueue.retry import DEFAULT_RETRY, MAX_DELAY, clamp_delay, exponential, fixed, linear

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.retry import RetryRule

attempts = st.integers(min_value=-10, max_value=2**63)
jitters = st.floats(0, 1)


@given(attempts, st.floats(0.001, 1e6), st.floats(1, 1000), st.floats(1e6, MAX_DELAY), jitters)
def test_an_exponential_wait_is_finite_and_within_its_cap(
    attempt: int, base: float, factor: float, cap: float, jitter: float
) -> None:
    wait = exponential(base=base, factor=factor, max=cap, jitter=jitter)(attempt)
    assert 0 <= wait <= cap * (1 + jitter)


@given(attempts, st.floats(0, 1e6), st.floats(0, MAX_DELAY), st.floats(1e6, MAX_DELAY), jitters)
def test_a_linear_wait_is_finite_and_within_its_cap(
    attempt: int, base: float, step: float, cap: float, jitter: float
) -> None:
    wait = linear(base=base, step=step, max=cap, jitter=jitter)(attempt)
    assert 0 <= wait <= cap * (1 + jitter)


@given(attempts, st.floats(0, MAX_DELAY), jitters)
def test_a_fixed_wait_stays_within_its_jitter(attempt: int, delay: float, jitter: float) -> None:
    wait = fixed(delay, jitter=jitter)(attempt)
    assert delay * (1 - jitter) <= wait <= delay * (1 + jitter)


@given(st.integers(1, 9999))
def test_without_jitter_a_later_attempt_never_waits_less(attempt: int) -> None:
    for rule in (exponential(jitter=0), linear(jitter=0), fixed(3)):
        assert rule(attempt) <= rule(attempt + 1)


def test_the_first_waits_are_those_that_the_documentation_names() -> None:
    rule = exponential(jitter=0)
    assert [rule(attempt) for attempt in range(1, 8)] == [1, 4, 16, 64, 256, 1024, 3600]
    assert [linear(jitter=0)(attempt) for attempt in range(1, 4)] == [1, 11, 21]


def test_the_default_spreads_each_wait_by_three_tenths() -> None:
    waits = [DEFAULT_RETRY(3) for _ in range(1000)]
    assert 16 * 0.7 <= min(waits) < 16 * 0.75
    assert 16 * 1.25 < max(waits) <= 16 * 1.3


@given(st.floats() | st.integers(-(10**30), 10**30))
def test_a_clamped_delay_is_from_zero_to_a_year(seconds: float) -> None:
    delay = clamp_delay(seconds)
    assert 0 <= delay <= MAX_DELAY
    if 0 <= seconds <= MAX_DELAY:
        assert delay == seconds


def test_a_delay_that_is_not_a_number_is_none_at_all() -> None:
    assert clamp_delay(math.nan) == 0


BAD: list[Any] = [math.nan, math.inf, -math.inf, -1, "1", None, True, MAX_DELAY + 1]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: exponential(base=bad),
        lambda bad: exponential(factor=bad),
        lambda bad: exponential(max=bad),
        lambda bad: exponential(jitter=bad),
        lambda bad: linear(base=bad),
        lambda bad: linear(step=bad),
        lambda bad: linear(max=bad),
        lambda bad: linear(jitter=bad),
        fixed,
        lambda bad: fixed(1, jitter=bad),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    make: Callable[[Any], RetryRule], value: object
) -> None:
    with pytest.raises(ConfigError, match=r"^retry \w+=.*: expected a number from"):
        make(value)


def test_a_cap_below_the_first_wait_is_refused() -> None:
    with pytest.raises(ConfigError, match="retry max=5: expected a number from 10 to"):
        exponential(base=10, max=5)
