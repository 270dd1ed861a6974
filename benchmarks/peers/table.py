"""The comparison as a page of Markdown. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.peers.catalog import ENTRIES, OURS, YARD
from benchmarks.report import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.peers.catalog import Entry
    from benchmarks.peers.figures import Figure, Results, Round

WORTH_A_FIGURE: Final = 1000
"""Times as fast."""

DRAIN: Final[tuple[str, ...]] = (
    "",
    "jobs/s",
    "ratio to yardstick",
    "pgqueue is",
    "Python us/job",
    "server us/job",
    "WAL B/job",
    "jobs in a drain",
    "durable",
    "rows after success",
)
ENQUEUE: Final = ("", "one a transaction, jobs/s", "in bulk, jobs/s")


def drain(results: Results) -> str:
    """The table of drains, the fastest of each kind first as the catalog has them."""
    lines = [DRAIN]
    for entry in ENTRIES.values():
        runs = [measured[entry.name] for measured in results.rounds if entry.name in measured]
        if runs:
            lines.append((*_measured(entry, runs, results.rounds), *_described(entry, runs)))
        elif reason := results.not_run.get(entry.name):
            lines.append((entry.label, f"*not run*: {cell(reason)}", *[""] * (len(DRAIN) - 2)))
    return markdown(lines)


def enqueue(results: Results) -> str:
    """The table of producers."""
    lines = [ENQUEUE]
    for entry in ENTRIES.values():
        runs = [measured[entry.name] for measured in results.rounds if entry.name in measured]
        if runs and entry.enqueues:
            label = entry.label.removesuffix(", async handlers").removesuffix(", tuned")
            one, bulk = _spread(run.one for run in runs), _spread(run.bulk for run in runs)
            lines.append((label, one, bulk))
    return markdown(lines)


def ratios(rounds: Sequence[Round], over: str, under: str) -> list[float]:
    """How one entry's rate relates to another's, in each round that has both."""
    return [
        measured[over].rate / measured[under].rate
        for measured in rounds
        if over in measured and under in measured
    ]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, its first line the head."""
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rest])


def cell(text: str) -> str:
    """A text that cannot end its cell, or its line."""
    return " ".join(text.replace("|", "/").split())


def _measured(entry: Entry, runs: list[Figure], rounds: list[Round]) -> tuple[str, ...]:
    return (
        entry.label,
        _spread([run.rate for run in runs]),
        _spread(ratios(rounds, entry.name, YARD)),
        "" if entry.name == OURS else _times(ratios(rounds, OURS, entry.name)),
        _each(runs, lambda run: run.python_cpu, 1e6),
        _each(runs, lambda run: run.server_cpu, 1e6),
        _each(runs, lambda run: run.wal_bytes, 1),
    )


def _times(values: list[float]) -> str:
    """How many times as fast; beyond what is worth a figure: that it is."""
    if values and statistics.median(values) > WORTH_A_FIGURE:
        return f"> {WORTH_A_FIGURE:,}x"
    middle, _, ranged = _spread(values).partition(" ")
    return f"{middle}x {ranged}".strip()


def _described(entry: Entry, runs: list[Figure]) -> tuple[str, str, str]:
    return f"{runs[-1].jobs:,}", "yes" if entry.durable else "no", entry.kept


def _spread(values: Iterable[float | None]) -> str:
    """The median and the range, in as many digits as the median needs."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    middle = statistics.median(known)
    digits = next((more for more, least in enumerate((20, 1, 0.1, 0.01)) if middle >= least), 4)
    return spread(known, f"{{:,.{digits}f}}")


def _each(runs: list[Figure], figure: Callable[[Figure], float | None], unit: float) -> str:
    values = [value / run.jobs * unit for run in runs if (value := figure(run)) is not None]
    return f"{statistics.median(values):,.0f}" if values else "-"
