"""How long jobs that have ended are kept: what people write, as seconds by state. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from pgqueue.errors import ConfigError
from pgqueue.job import FINAL_STATES, State

Keep = float | timedelta | None
"""Seconds, or a timedelta, for which a job is kept after its end; None keeps it for ever."""

Retention = Keep | Mapping[State, Keep]
"""One time for all final states, or a time by state."""

DAY: Final = 86_400.0
LONGEST: Final = 36_500 * DAY

DEFAULTS: Final[Mapping[State, float | None]] = MappingProxyType(
    {"succeeded": DAY, "cancelled": 7 * DAY, "expired": 7 * DAY, "dead": None}
)
"""What holds for states that nobody says anything about."""

ALL_TASKS: Final = "*"
"""Stands for every task that has no time of its own; no task can be called so."""

FOREVER: Final = "forever"
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}


def by_state(what: str, given: Retention) -> dict[State, float | None]:
    """Seconds by final state, None for ever, as somebody gave them.

    Args:
        what: whose they are, for the message.
        given: a time for all final states, or times of some of them.

    Raises:
        ConfigError: a state that is not final, or a time out of range.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(FINAL_STATES, _seconds(what, given))
    for state in given:
        if state not in FINAL_STATES:
            raise ConfigError(
                f"{what}[{state!r}]: only jobs that have ended are pruned; expected one of "
                f"{', '.join(FINAL_STATES)}"
            )
    return {state: _seconds(f"{what}[{state!r}]", keep) for state, keep in given.items()}


def parse(text: str) -> float | None:
    """Seconds of a text such as `90s`, `30m`, `12h` or `7d`; None of `forever`.

    Raises:
        ConfigError: it is something else.
    """
    if text.strip().lower() == FOREVER:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", text.strip().lower(), re.ASCII)
    if found is None:
        raise ConfigError(f"{text!r}: expected a time such as 90s, 30m, 12h, 7d, or {FOREVER}")
    return _seconds(text, float(found[1]) * _UNITS[found[2]])


def shown(keep: float | None) -> str:
    """Seconds as `parse` reads them, in the largest unit that fits."""
    if keep is None:
        return FOREVER
    unit = next(
        (unit for unit, size in reversed(_UNITS.items()) if keep >= size and keep % size == 0), "s"
    )
    return f"{keep / _UNITS[unit]:.6f}".rstrip("0").rstrip(".") + unit


def _seconds(what: str, keep: Keep) -> float | None:
    if keep is None:
        return None
    number: Any = keep.total_seconds() if isinstance(keep, timedelta) else keep
    whole = isinstance(number, int | float) and not isinstance(number, bool)
    if not whole or not 0 <= number <= LONGEST:
        raise ConfigError(
            f"{what}={keep!r}: expected seconds from 0 to {LONGEST:.0f}, a timedelta of as much, "
            "or None to keep for ever"
        )
    return float(number)
