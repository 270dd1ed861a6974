"""The comparison's own arithmetic and bookkeeping: a wrong figure of a peer is worse than none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import plot
from benchmarks.peers import broker, environments, run, table
from benchmarks.peers.catalog import ENTRIES
from benchmarks.peers.environments import Environments, NotRunError
from benchmarks.peers.figures import Figure, Results, joined, read
from benchmarks.peers.measure import Watched
from benchmarks.plot import Bar

SVG = "{http://www.w3.org/2000/svg}"


def figure(rate: float, **more: float) -> Figure:
    return Figure(1000, 1000 / rate, **more)  # type: ignore[arg-type]  # counts are numbers here


def results(*rounds: dict[str, Figure], **not_run: str) -> Results:
    return Results({"date": "2026-11-22"}, {"rq": "rq 3.0"}, list(rounds), not_run)


def cells(page: str, label: str) -> list[str]:
    [line] = [line for line in page.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_peer_is_compared_with_pgqueue_within_each_round() -> None:
    # The medians of the rates, 200 and 20, would say 10.
    rates = [(100.0, 20.0), (200.0, 50.0), (400.0, 10.0)]
    rounds = [
        {"yardstick": figure(400), "pgqueue": figure(ours), "oban": figure(theirs)}
        for ours, theirs in rates
    ]
    page = table.drain(results(*rounds))
    assert cells(page, "Oban, tuned")[2] == "5.0x (4.0-40.0)"
    assert cells(page, "pgqueue, async handlers")[2] == ""


def test_costs_are_per_job_and_what_cannot_be_seen_is_left_open() -> None:
    measured = {
        "yardstick": figure(100),
        "pgqueue": figure(100, python_cpu=0.5, server_cpu=0.25, wal_bytes=9e5),
    }
    page = table.drain(results(measured))
    assert cells(page, "pgqueue, async handlers")[3:6] == ["500", "250", "900"]
    assert cells(page, "yardstick")[3:6] == ["-", "-", "-"]


def test_a_peer_that_failed_in_one_round_has_the_figures_of_the_others() -> None:
    first = {"yardstick": figure(400), "pgqueue": figure(200), "rq": figure(20)}
    second = {"yardstick": figure(400), "pgqueue": figure(200)}
    page = table.drain(results(first, second))
    assert cells(page, "RQ on Redis, tuned")[:3] == [
        "20 (20-20)",
        "0.050 (0.050-0.050)",
        "10.0x (10.0-10.0)",
    ]


def test_what_could_not_be_run_is_told_with_its_reason() -> None:
    measured = {"yardstick": figure(400), "pgqueue": figure(200)}
    page = table.drain(results(measured, oban="needs Python 3.12:\nnone | nowhere"))
    assert cells(page, "Oban, tuned")[0] == "*not run*: needs Python 3.12: none / nowhere"


def test_a_table_has_as_many_cells_in_each_line() -> None:
    measured = {"yardstick": figure(400), "pgqueue": figure(200)}
    page = table.drain(results(measured, oban="none"))
    assert len({line.count("|") for line in page.splitlines()}) == 1


def test_a_producer_without_a_bulk_form_has_none_in_the_table() -> None:
    page = table.enqueue(results({"celery": figure(100, one=2000.0)}))
    assert cells(page, "Celery on Redis") == ["2,000 (2,000-2,000)", "-"]


def test_results_are_read_as_they_were_saved(tmp_path: Path) -> None:
    made = results({"rq": figure(20, one=3.5)}, oban="none")
    made.save(tmp_path / "saved.json")
    assert read(tmp_path / "saved.json") == made


def test_joined_runs_keep_a_reason_only_for_what_never_ran() -> None:
    both = joined([results({"rq": figure(20)}, oban="once"), results({"oban": figure(10)}, rq="x")])
    assert len(both.rounds) == 2
    assert both.not_run == {}


def test_bars_are_as_long_as_their_medians() -> None:
    drawing = ET.fromstring(plot.chart("t", "n", [Bar("a", [10, 40, 20]), Bar("b", [5])]))
    widths = [float(bar.attrib["width"]) for bar in drawing.iter(f"{SVG}rect") if bar.get("rx")]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)


def test_a_range_reaches_from_the_least_to_the_most() -> None:
    drawing = ET.fromstring(plot.chart("t", "n", [Bar("a", [10, 40, 20])]))
    [path] = drawing.iter(f"{SVG}path")
    room = plot.WIDTH - plot.LEFT - plot.RIGHT
    assert path.attrib["d"].startswith(f"M{plot.LEFT + room / 4:.1f} ")
    assert f"H{plot.LEFT + room:.1f}" in path.attrib["d"]


def test_a_chart_tells_what_was_not_run_and_escapes_what_it_is_told() -> None:
    bars = [Bar("a", [1]), Bar("b & <c>", [], note="none of it")]
    words = [text.text for text in ET.fromstring(plot.chart("t", "n", bars)).iter(f"{SVG}text")]
    assert "b & <c>" in words
    assert "not run: none of it" in words


@pytest.mark.parametrize(("longest", "step"), [(111_461, 20_000), (7.5, 1), (48, 10), (1000, 200)])
def test_ticks_stand_at_round_numbers(longest: float, step: float) -> None:
    assert plot.tick_step(longest) == step


@pytest.mark.parametrize(("value", "said"), [(0.55, "0.6"), (68.4, "68"), (111_461, "111,000")])
def test_figures_are_said_with_three_digits(value: float, said: str) -> None:
    assert plot.rounded(value) == said


def test_each_entry_has_its_program_and_each_peer_says_where_its_settings_come_from() -> None:
    for entry in ENTRIES.values():
        spec = importlib.util.find_spec(f"benchmarks.peers.programs.{entry.program}")
        assert spec is not None
        assert spec.origin is not None
        assert not entry.needs or "\nhttps://" in Path(spec.origin).read_text()


def test_yardstick_and_pgqueue_always_run() -> None:
    assert run.chosen_names("oban") == ["yardstick", "pgqueue", "oban"]


def test_all_entries_run_once_in_a_round_whose_order_differs_from_the_last() -> None:
    entries = [(entry, Path()) for entry in ENTRIES.values()]
    first, second = (list(run.rotated(entries, number)) for number in (1, 2))
    assert first != second
    assert sorted(entry.name for entry, _ in second) == sorted(ENTRIES)


def test_the_page_has_the_place_for_its_figures() -> None:
    text = run.PAGE.read_text("utf-8")
    assert run.FIGURES.sub("new", text).count("<!-- figures -->\nnew<!-- end of figures -->") == 1


def test_a_python_that_is_new_enough_is_found_under_pyenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "versions" / "3.13.1" / "bin" / "python3.13"
    made.parent.mkdir(parents=True)
    made.symlink_to(fake(tmp_path / "program", "echo 3 13"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 11, 0, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environments.interpreter((3, 13)) == made


def test_a_shim_that_does_not_answer_is_no_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path / "python3.14", "exit 1")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 11, 0, "final", 0))
    with pytest.raises(NotRunError, match=r"needs Python 3\.14: none on PATH or under pyenv"):
        environments.interpreter((3, 14))


def test_an_environment_that_was_not_completed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fake(tmp_path / "python3", 'echo "ERROR: no such thing" >&2; exit 1')
    monkeypatch.setattr(environments, "interpreter", lambda _: base)
    made = Environments(tmp_path / "envs")
    for _ in range(2):
        with pytest.raises(NotRunError, match="rq could not be installed: ERROR: no such thing"):
            made.python(("rq",), (3, 11))


def test_environments_differ_by_packages_and_by_python() -> None:
    digests = {
        environments.digest(needs, base)
        for needs in (("rq",), ("rq", "redis"))
        for base in (Path("/a/python"), Path("/b/python"))
    }
    assert len(digests) == 4


def test_a_server_is_named_by_what_it_says(tmp_path: Path) -> None:
    path = fake(tmp_path / "server", "echo Valkey server v=9.1.2 sha=00000000:1 bits=64")
    assert broker.version(path) == "Valkey 9.1.2"


def test_a_drain_runs_from_the_first_sign_of_a_claim_to_the_end() -> None:
    seen = iter([False, True])
    left = iter([False, False, True])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        cpu = iter([1.0, 3.5])
        watched = Watched(process, lambda: next(seen), lambda: next(left), lambda: next(cpu))
        measured = watched.figure(7)
    assert (measured.jobs, measured.server_cpu) == (7, 2.5)
    assert measured.seconds > 0


def fake(path: Path, script: str) -> Path:
    """An executable that runs a line of shell."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
