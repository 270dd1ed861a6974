"""From rounds to a table: medians, ratios within a round, and which rounds are void. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

VOID_BELOW: Final = 0.7
"""The yardstick's rate over the bare loop's below which a round says nothing."""

HEAD: Final = ("", "ratio", "jobs/s", "Python us/job", "server us/job", "WAL B/job", "commits/job")


@dataclass(slots=True)
class Measurement:
    """One drain.

    Attributes:
        jobs: how many.
        seconds: from the first claim to the last finish, by the database's clock.
        python_cpu: seconds of the contestant's processes; None where they cannot be seen.
        server_cpu: seconds of the server's processes; None where they cannot be seen.
        wal_bytes: written by the server.
        commits: in the database, the contestant's start and stop included.
    """

    jobs: int
    seconds: float
    python_cpu: float | None
    server_cpu: float | None
    wal_bytes: int
    commits: int

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


Round = dict[str, Measurement]
"""What each contestant did in one round, by its name."""


def is_void(measured: Mapping[str, Measurement], *, yardstick: str, bare: str) -> bool:
    """Whether the yardstick fell short of the bare loop: something disturbed one of them."""
    return measured[yardstick].rate < VOID_BELOW * measured[bare].rate


def table(rounds: Sequence[Round], labels: Mapping[str, str], *, yardstick: str) -> str:
    """The figures of valid rounds; a ratio is the median of the ratios within each round."""
    lines = [list(HEAD)]
    for name, label in labels.items():
        runs = [measured[name] for measured in rounds]
        ratios = [measured[name].rate / measured[yardstick].rate for measured in rounds]
        lines.append([label, spread(ratios, "{:.2f}"), spread([r.rate for r in runs], "{:,.0f}")])
        lines[-1] += [_each(runs, _python), _each(runs, _server), _each(runs, _wal)]
        lines[-1].append(_each(runs, lambda run: run.commits / run.jobs, "{:.4f}"))
    return aligned(lines)


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the range."""
    figures = statistics.median(values), min(values), max(values)
    return "{} ({}-{})".format(*map(form.format, figures))


def _python(run: Measurement) -> float | None:
    return None if run.python_cpu is None else run.python_cpu / run.jobs * 1e6


def _server(run: Measurement) -> float | None:
    return None if run.server_cpu is None else run.server_cpu / run.jobs * 1e6


def _wal(run: Measurement) -> float:
    return run.wal_bytes / run.jobs


def _each(
    runs: Sequence[Measurement], figure: Callable[[Measurement], float | None], form: str = ""
) -> str:
    values = [value for run in runs if (value := figure(run)) is not None]
    return (form or "{:.0f}").format(statistics.median(values)) if values else "-"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:]))
    return "  ".join([first, *rest]).rstrip()
