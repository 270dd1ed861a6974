"""What one line of one round came to, and how rounds are saved and read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(slots=True)
class Figure:
    """One entry's drain and producer.

    Attributes:
        jobs: how many were drained.
        seconds: from the first claim to the last finish.
        python_cpu: seconds of the worker's processes; None where they cannot be seen.
        server_cpu: seconds of the server's processes; None where they cannot be seen.
        wal_bytes: written by PostgreSQL meanwhile; None on Redis.
        one: jobs a second, enqueued in a transaction each; None where not measured.
        bulk: jobs a second, enqueued in bulk; None where not measured or there is no such form.
    """

    jobs: int
    seconds: float
    python_cpu: float | None = None
    server_cpu: float | None = None
    wal_bytes: int | None = None
    one: float | None = None
    bulk: float | None = None

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


Round = dict[str, Figure]
"""What each entry did in one round, by its name."""


@dataclass
class Results:
    """What one or more runs measured.

    Attributes:
        about: date, machine, server, settings; of the last run.
        versions: of the packages that were measured, and their Python, by program.
        rounds: the figures.
        not_run: the reason, by the entry's name.
    """

    about: dict[str, str]
    versions: dict[str, str]
    rounds: list[Round]
    not_run: dict[str, str]

    def save(self, path: Path) -> None:
        """Write it, to be read by `read`."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def read(path: Path) -> Results:
    """Read what `save` wrote."""
    saved: dict[str, Any] = json.loads(path.read_text())
    saved["rounds"] = [
        {name: Figure(**figure) for name, figure in measured.items()}
        for measured in saved["rounds"]
    ]
    return Results(**saved)


def joined(parts: Iterable[Results]) -> Results:
    """The rounds of several runs as if they were of one; the last one tells date and versions.

    An entry counts as not run only where no run has a figure of it.
    """
    made = Results({}, {}, [], {})
    for part in parts:
        made.about.update(part.about)
        made.versions.update(part.versions)
        made.rounds += part.rounds
        made.not_run.update(part.not_run)
    measured = {name for each in made.rounds for name in each}
    made.not_run = {name: why for name, why in made.not_run.items() if name not in measured}
    return made
