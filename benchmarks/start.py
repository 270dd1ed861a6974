"""How long `pgqueue --help` takes, and a worker until it starts its first job."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TYPER: Final = """\
import typer

program = typer.Typer(add_completion=False)


@program.command()
def one(name: str = "") -> None:
    '''Do one thing.'''


@program.command()
def two(name: str = "") -> None:
    '''Do another thing.'''


program()
"""
TIMES: Final = 10
"""Starts of each, in turn, in one round."""
STARTED: Final = "select extract(epoch from min(started_at))::float8 from pgqueue.jobs"


def measure(place: Bench) -> list[Finding]:
    shares, helps, firsts = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.py")
        program.write_text(TYPER, "utf-8")
        for number in range(place.rounds):
            typer, ours = _helps([sys.executable, str(program), "--help"])
            first = _first_job(place)
            print(
                f"  round {number + 1}: Typer {typer * 1e3:.0f} ms, pgqueue --help "
                f"{ours * 1e3:.0f} ms, first job {first:.2f} s",
                flush=True,
            )
            shares.append(ours / typer)
            helps.append(ours * 1e3)
            firsts.append(first - ours)
    return [
        Finding(what="`--help` over a Typer program's", values=shares, at_most=1.5),
        Finding(what="`pgqueue --help`", values=helps, unit="ms", digits=0),
        Finding(what="a worker's first job, after that", values=firsts, unit="s", at_most=1.0),
    ]


def _helps(typer: list[str]) -> tuple[float, float]:
    """Seconds of each program's --help: the medians of runs in turn."""
    ours = [drain.PGQUEUE_WORKER[0], "--help"]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TIMES):
        for command, taken in zip((typer, ours), times, strict=True):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - began)
    return sorted(times[0])[TIMES // 2], sorted(times[1])[TIMES // 2]


def _first_job(place: Bench) -> float:
    """Seconds from the start of `pgqueue worker` to the claim of a job that stands ready."""
    with bench.fresh(place.databases, 1) as (dsn, connection, span):
        [(clock,)] = connection.execute("select extract(epoch from clock_timestamp())::float8")
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            span.worked_by(process, connection)
        [(started,)] = connection.execute(STARTED)
    return float(started - clock)
