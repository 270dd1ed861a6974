"""The arithmetic of the measurements beside the drain, and how their statements are named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import finding, limits, stamps, statements
from benchmarks.__main__ import parser
from benchmarks.finding import Finding
from pgqueue import store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (Finding(what="share", values=[0.5, 0.9, 0.95], at_least=0.9), True),
        (Finding(what="share", values=[0.95, 0.8, 0.89], at_least=0.9), False),
        (Finding(what="delay", values=[5.0, 1.0, 3.0], at_most=3.0), True),
        (Finding(what="delay", values=[5.0, 4.0, 3.0], at_most=3.0), False),
        (Finding(what="size", values=[1.0]), None),
    ],
)
def test_a_target_holds_when_the_median_of_the_rounds_meets_it(
    found: Finding, holds: bool | None
) -> None:
    assert found.holds is holds


def test_a_line_says_median_range_target_and_verdict() -> None:
    slow = Finding(what="p99", values=[7.0, 6.5, 9.0], unit="ms", at_most=6.0)
    free = Finding(what="rate", values=[1234.0], unit="jobs/s", digits=0)
    _, _, first, second = finding.table({"latency": [slow, free]}).splitlines()
    assert first == "| latency | p99 | 7.00 (6.50 to 9.00) ms | at most 6.00 ms | **no** |"
    assert second == "|  | rate | 1,234 jobs/s |  |  |"


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.1, 1.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert finding.percentile(map(float, range(100, 0, -1)), percent) == value


def test_findings_are_saved_as_json_and_as_a_table(tmp_path: Path) -> None:
    found = {"memory": [Finding(what="after", values=[40.0], unit="MiB", at_most=80.0)]}
    limits.conclude(found, {"date": "today"}, tmp_path / "limits.json")
    [saved] = json.loads((tmp_path / "limits.json").read_text())["limits"]["memory"]
    assert (saved["median"], saved["holds"]) == (40.0, True)
    assert "| memory | after | 40.00 MiB |" in (tmp_path / "limits.md").read_text()


def test_the_first_start_of_a_job_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_open", [])
    with stamps.file() as started:
        monkeypatch.setenv(stamps.VARIABLE, str(started.path))
        for number in (7, 8, 7):
            stamps.stamp(number)
        found = started.read()
        assert started.count() == 3
    assert set(found) == {7, 8}
    assert found[7] <= found[8]


def test_a_statement_has_one_shape_as_a_file_and_as_the_server_keeps_it() -> None:
    kept = "SELECT  x FROM t\nwhere a = $1 and b < $2 and c is null"
    ours = "-- Who and why.\nselect x from t\nwhere a = %(a)s and b < '1 second' and c is null"
    assert statements.shape(kept) == statements.shape(ours)


def test_the_shapes_of_all_statements_differ() -> None:
    names = statements.names()
    shapes = {statements.shape(store.statement(name).decode()) for name in names}
    assert len(shapes) == len(names)


@pytest.mark.parametrize("what", [*limits.LIMITS, limits.ALL])
def test_a_measurement_is_asked_for_by_name(what: str) -> None:
    given = parser().parse_args([what, "--quick"])
    assert (given.what, given.quick, given.rounds) == (what, True, None)
