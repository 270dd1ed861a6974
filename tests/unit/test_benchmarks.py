"""The benchmark's own arithmetic: a wrong figure is worse than none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks import report, usage
from benchmarks.__main__ import parser, rotated
from benchmarks.report import Measurement


def drain(rate: float, *, python_cpu: float | None = 0.5, commits: int = 10) -> Measurement:
    return Measurement(1000, 1000 / rate, python_cpu, 0.25, 900_000, commits)


def cells(table: str, label: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(label)]
    return [cell.strip() for cell in line.removeprefix(label).split("  ") if cell.strip()]


@pytest.mark.parametrize(("rate", "void"), [(69.0, True), (71.0, False), (120.0, False)])
def test_a_round_is_void_when_the_yardstick_falls_short_of_the_bare_loop(
    rate: float, void: bool
) -> None:
    measured = {"bare": drain(100.0), "yardstick": drain(rate)}
    assert report.is_void(measured, yardstick="yardstick", bare="bare") is void


def test_a_ratio_is_the_median_of_the_ratios_within_rounds() -> None:
    # The medians of the rates, 200 and 100, would say 0.50.
    rates = [(100.0, 90.0), (200.0, 100.0), (300.0, 240.0)]
    rounds = [{"yardstick": drain(yard), "pgqueue": drain(own)} for yard, own in rates]
    table = report.table(rounds, {"pgqueue": "ours"}, yardstick="yardstick")
    assert cells(table, "ours")[:2] == ["0.80 (0.50-0.90)", "100 (90-240)"]


def test_costs_are_per_job_in_microseconds_and_bytes() -> None:
    table = report.table([{"yardstick": drain(100.0)}], {"yardstick": "it"}, yardstick="yardstick")
    assert cells(table, "it")[2:] == ["500", "250", "900", "0.0100"]


def test_cpu_that_cannot_be_seen_is_left_open() -> None:
    rounds = [{"yardstick": drain(100.0, python_cpu=None)}]
    table = report.table(rounds, {"yardstick": "it"}, yardstick="yardstick")
    assert cells(table, "it")[2] == "-"


def test_each_round_has_another_order() -> None:
    names = ["bare", "yardstick", "pgqueue"]
    assert list(rotated(names, 4)) == ["yardstick", "pgqueue", "bare"]


def test_bare_and_yardstick_always_run() -> None:
    assert parser().parse_args(["--only", "pgqueue"]).only == ["bare", "yardstick", "pgqueue"]


def test_cpu_counts_children_that_have_ended() -> None:
    before = usage.cpu_seconds(os.getpid())
    burn = "import os\nwhile sum(os.times()[:2]) < 0.2: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    after = usage.cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before >= 0.19
