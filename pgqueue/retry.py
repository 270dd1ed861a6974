"""When a failed job is tried again: attempt number in, seconds out. Pure, but for the dice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pgqueue.errors import ConfigError

MAX_DELAY: Final = 365 * 24 * 3600.0
"""Seconds. No retry waits longer than a year, whatever a rule says."""

RetryRule = Callable[[int], float]
"""Called with the number of the attempt that failed, from 1; returns seconds to wait."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """base * factor ** (attempt - 1), at most `max`, give or take `jitter`."""

    base: float = 1.0
    factor: float = 4.0
    max: float = 3600.0
    jitter: float = 0.3

    def __call__(self, attempt: int) -> float:
        # Beyond 64 doublings every real rule has met its cap, and the power would overflow.
        growth = self.factor ** min(max(attempt - 1, 0), 64)
        return _spread(min(self.base * growth, self.max), self.jitter)


@dataclass(frozen=True, slots=True)
class Linear:
    """base + step * (attempt - 1), at most `max`, give or take `jitter`."""

    base: float = 1.0
    step: float = 10.0
    max: float = 3600.0
    jitter: float = 0.3

    def __call__(self, attempt: int) -> float:
        return _spread(min(self.base + self.step * max(attempt - 1, 0), self.max), self.jitter)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same delay each time, give or take `jitter`."""

    delay: float
    jitter: float = 0.0

    def __call__(self, attempt: int) -> float:
        del attempt
        return _spread(self.delay, self.jitter)


def exponential(
    *, base: float = 1.0, factor: float = 4.0, max: float = 3600.0, jitter: float = 0.3
) -> RetryRule:
    """Wait base, base * factor, base * factor ** 2, ... seconds, at most `max`.

    Args:
        base: seconds before the second attempt; above 0.
        factor: growth from one attempt to the next; at least 1.
        max: the longest wait in seconds.
        jitter: 0.3 spreads each wait evenly over 70 % to 130 % of itself; 0 to 1.

    Raises:
        ConfigError: a value outside its range.
    """
    _require("base", base, low=0.001)
    _require("factor", factor, low=1.0, high=1000.0)
    _require("max", max, low=base)
    _require("jitter", jitter, low=0.0, high=1.0)
    return Exponential(base, factor, max, jitter)


def linear(
    *, base: float = 1.0, step: float = 10.0, max: float = 3600.0, jitter: float = 0.3
) -> RetryRule:
    """Wait base, base + step, base + 2 * step, ... seconds, at most `max`.

    Args and errors as for `exponential`; `step` is in seconds, at least 0.
    """
    _require("base", base, low=0.0)
    _require("step", step, low=0.0)
    _require("max", max, low=base)
    _require("jitter", jitter, low=0.0, high=1.0)
    return Linear(base, step, max, jitter)


def fixed(delay: float, *, jitter: float = 0.0) -> RetryRule:
    """Wait `delay` seconds before each retry; `jitter` as for `exponential`."""
    _require("delay", delay, low=0.0)
    _require("jitter", jitter, low=0.0, high=1.0)
    return Fixed(delay, jitter)


DEFAULT_RETRY: Final[RetryRule] = Exponential()
"""1 s, 4 s, 16 s, 64 s, 4 min, 17 min, 1 h: eight attempts span about 1 h 20 min."""


def clamp_delay(seconds: float) -> float:
    """A delay that a rule returned, made safe: never negative, not a number, or over a year."""
    return min(max(seconds, 0.0), MAX_DELAY) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN


def _spread(delay: float, jitter: float) -> float:
    return delay * random.uniform(1 - jitter, 1 + jitter) if jitter else delay  # noqa: S311


def _require(name: str, value: object, *, low: float, high: float = MAX_DELAY) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"retry {name}={value!r}: expected a number from {low:g} to {high:g}")
