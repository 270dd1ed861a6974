"""The measurements beside the drain, each with its targets: one of them, or all."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import (
    crowd,
    desk,
    ephemeral,
    finding,
    idle,
    latency,
    load,
    locked,
    memory,
    processes,
    producers,
    prune,
    rescue,
    sleeping,
    snapshot,
    start,
    unknown,
    wal,
)
from benchmarks.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.finding import Finding
    from benchmarks.server import Databases


@dataclass(frozen=True)
class Limit:
    """A measurement, and how often it is repeated when nobody says; 1 where it has no rounds."""

    measure: Callable[[Bench], list[Finding]]
    rounds: int


LIMITS: Final = {
    "processes": Limit(processes.measure, 3),
    "latency": Limit(latency.measure, 3),
    "load": Limit(load.measure, 3),
    "snapshot": Limit(snapshot.measure, 3),
    "producers": Limit(producers.measure, 3),
    "crowd": Limit(crowd.measure, 3),
    "wal": Limit(wal.measure, 1),
    "idle": Limit(idle.measure, 1),
    "memory": Limit(memory.measure, 1),
    "sleeping": Limit(sleeping.measure, 3),
    "start": Limit(start.measure, 3),
    "unknown": Limit(unknown.measure, 3),
    "locked": Limit(locked.measure, 3),
    "desk": Limit(desk.measure, 1),
    "rescue": Limit(rescue.measure, 1),
    "prune": Limit(prune.measure, 3),
    "ephemeral": Limit(ephemeral.measure, 3),
}
ALL: Final = "all"


def run(
    names: list[str],
    databases: Databases,
    *,
    bin_dir: Path | None,
    rounds: int | None,
    quick: bool,
) -> dict[str, list[Finding]]:
    """The findings of the measurements with these names."""
    found = {}
    for name in names:
        limit = LIMITS[name]
        print(f"{name}: {limit.measure.__module__}", flush=True)
        began = time.monotonic()
        times = 1 if quick else limit.rounds
        found[name] = limit.measure(Bench(databases, bin_dir, rounds or times, quick))
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return found


def conclude(found: dict[str, list[Finding]], about: dict[str, str], save: Path | None) -> int:
    """Print the table, and save it: the exit code, 0 whether or not the targets hold."""
    shown = finding.table(found)
    missed = [f"{name}: {one.what}" for name in found for one in found[name] if one.holds is False]
    print(f"\n{shown}\n\nmedians, ranges of the rounds in brackets; {len(missed)} targets missed")
    if save is not None:
        plain = {name: [one.plain() for one in findings] for name, findings in found.items()}
        save.write_text(json.dumps({**about, "limits": plain}, indent=1) + "\n", "utf-8")
        save.with_suffix(".md").write_text(shown + "\n", "utf-8")
    return 0
