"""Numbers of jobs, counted no further than a look may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COUNT_CAP: Final = 10_000
"""Counts stop here and say so: a look at a large table must not cost a walk through it."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of jobs; `more` when counting stopped at it."""

    value: int
    more: bool = False

    def __str__(self) -> str:
        if not self.more:
            return str(self.value)
        return f"{self.value // 1000}k+" if self.value >= 1000 else f"{self.value}+"  # noqa: PLR2004 - k

    @classmethod
    def capped(cls, counted: int) -> Count:
        """A count that was made to stop one after COUNT_CAP."""
        return cls(min(counted, COUNT_CAP), counted > COUNT_CAP)
