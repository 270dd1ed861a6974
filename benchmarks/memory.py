"""Resident memory of a worker as it works a million jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain, usage
from benchmarks.finding import Finding

if TYPE_CHECKING:
    import subprocess

    from benchmarks.bench import Bench

MARKS: Final = (100_000, 500_000, 1_000_000)
"""Jobs after which to look."""
STEP: Final = 100_000
MIB: Final = 1024 * 1024


def measure(place: Bench) -> list[Finding]:
    marks = [place.sized(mark) for mark in MARKS]
    found: dict[int, float] = {}
    with (
        bench.fresh(place.databases) as (dsn, connection, _),
        drain.running(bench.worker("--processes", "1"), dsn) as process,
    ):
        for done in range(place.sized(STEP), marks[-1] + 1, place.sized(STEP)):
            bench.put(connection, place.sized(STEP)).worked_by(process, connection)
            if done in marks:
                found[done] = usage.resident_bytes(_worker(process)) / MIB
                print(f"  {done:,} jobs: {found[done]:.1f} MiB", flush=True)
        supervisor = usage.resident_bytes(process.pid) / MIB
    growth = found[marks[-1]] / found[marks[0]]
    return [
        *(
            Finding(
                what=f"after {mark:,} jobs", values=[found[mark]], unit="MiB", at_most=80, digits=1
            )
            for mark in marks
        ),
        Finding(what="the last over the first", values=[growth], at_most=1.05),
        Finding(what="its supervisor", values=[supervisor], unit="MiB", digits=1),
    ]


def _worker(process: subprocess.Popen[bytes]) -> int:
    [worker] = usage.children(process.pid)
    return worker
