"""What a measurement found: a figure for each round, its target, and whether it holds. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the table.

    Attributes:
        what: is measured, in a few words.
        values: one for each round.
        unit: of the values; empty for ratios.
        at_least: the target, where more is better.
        at_most: the target, where less is better. With neither, the line is for information.
        digits: after the point.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the median meets the target; None without a target."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    def value(self) -> str:
        """The median, and the range when there were rounds to differ."""
        shown = self._figure(self.median)
        low, high = self._figure(min(self.values)), self._figure(max(self.values))
        between = f" ({low} to {high})" if len(self.values) > 1 and low != high else ""
        return f"{shown}{between} {self.unit}".rstrip()

    def target(self) -> str:
        """The target, in words."""
        if self.at_least is not None:
            return f"at least {self._figure(self.at_least)} {self.unit}".rstrip()
        return "" if self.at_most is None else f"at most {self._figure(self.at_most)} {self.unit}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "values": list(self.values),
            "at_least": self.at_least,
            "at_most": self.at_most,
            "holds": self.holds,
        }

    def _figure(self, number: float) -> str:
        return f"{number:,.{self.digits}f}"


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


def table(found: Mapping[str, Sequence[Finding]]) -> str:
    """All findings as a markdown table, by the name of their measurement."""
    lines = ["| | | value | target | holds |", "|---|---|---|---|---|"]
    for name, findings in found.items():
        for number, finding in enumerate(findings):
            cells = [name if number == 0 else "", finding.what, finding.value()]
            cells += [finding.target(), {None: "", True: "yes", False: "**no**"}[finding.holds]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
