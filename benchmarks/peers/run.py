"""Measure pgqueue beside its peers: `python -m benchmarks peers --help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

import pgqueue
from benchmarks import plot, server
from benchmarks.peers import broker, table
from benchmarks.peers.catalog import ALL, ENTRIES, OURS, YARD
from benchmarks.peers.databases import Templates
from benchmarks.peers.environments import FOLDER, Environments, NotRunError, versions
from benchmarks.peers.figures import Results, Round, joined, read
from benchmarks.peers.measure import Bench, PeerError
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.peers.catalog import Entry

DOCS: Final = Path(__file__).parent.parent.parent / "docs"
PAGE: Final = DOCS / "peers.md"
PICTURE: Final = DOCS / "peers.svg"
FIGURES: Final = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped
    chosen = parser().parse_args(arguments)
    try:
        results = joined(map(read, chosen.read)) if chosen.read else measured(chosen)
    except (PeerError, PgQueueError, psycopg.Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if chosen.json:
        results.save(chosen.json)
    print(f"\n{page(results)}")
    if chosen.write:
        write(results)
    return 0


def measured(chosen: argparse.Namespace) -> Results:
    """Make the environments, then run the rounds."""
    environments = Environments(chosen.envs)
    with contextlib.ExitStack() as stack:
        dsn = chosen.dsn or stack.enter_context(server.embedded(chosen.bin))
        databases = server.Databases(dsn)
        results = Results(about(databases), {}, [], {})
        entries = prepared(chosen.only, environments, results)
        templates = stack.enter_context(Templates(databases, dsn))
        bench = Bench(templates, valkey(environments, results), chosen.jobs)
        for number in range(chosen.first, chosen.first + chosen.rounds):
            results.rounds.append(one_round(bench, list(rotated(entries, number)), results))
            print(f"round {number} is done", flush=True)
    return results


def prepared(
    names: list[str], environments: Environments, results: Results
) -> list[tuple[Entry, Path]]:
    """The entries that can be run, each with its interpreter."""
    ready = []
    for entry in (ENTRIES[name] for name in names):
        try:
            python = environments.python(entry.needs, entry.python)
        except NotRunError as reason:
            results.not_run[entry.name] = str(reason)
            print(f"{entry.name}: not run: {reason}", flush=True)
            continue
        ready.append((entry, python))
        if entry.needs:
            packages = versions(python, entry.needs)
            packages["Python"] = version_of(python)
            told = [f"{package} {version}" for package, version in packages.items()]
            results.versions[entry.program] = ", ".join(told)
    return ready


def one_round(bench: Bench, entries: list[tuple[Entry, Path]], results: Results) -> Round:
    """Measure each entry once; what fails is told, and left out."""
    measured: Round = {}
    for entry, python in entries:
        try:
            figure = bench.measure(entry, python)
        except (PeerError, NotRunError, psycopg.Error, subprocess.TimeoutExpired) as reason:
            results.not_run[entry.name] = str(reason)
            print(f"{entry.name}: failed: {reason}", flush=True)
            continue
        measured[entry.name] = figure
        print(f"{entry.name}: {figure.rate:,.1f} jobs/s", flush=True)
    return measured


def rotated(entries: list[tuple[Entry, Path]], by: int) -> Iterator[tuple[Entry, Path]]:
    """In another order each round: a third of the way on, so that no neighbours stay the same."""
    start = by * max(1, len(entries) // 3) % max(1, len(entries))
    yield from entries[start:]
    yield from entries[:start]


def valkey(environments: Environments, results: Results) -> Path | None:
    """The program of a Redis-compatible server."""
    try:
        path = broker.program(environments)
    except NotRunError as reason:
        print(f"Redis: {reason}", flush=True)
        return None
    results.about["broker"] = broker.version(path)
    return path


def about(databases: server.Databases) -> dict[str, str]:
    """What must be known to judge the figures."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "server": databases.version(),
        "pgqueue": f"{pgqueue.__version__}, Python {platform.python_version()}, "
        f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__})",
    }


def version_of(python: Path) -> str:
    command = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def page(results: Results) -> str:
    """The figures as Markdown."""
    told = [f"- {name}: {value}" for name, value in results.about.items()]
    told += [f"- {packages}" for packages in results.versions.values()]
    told.append(f"- {len(results.rounds)} rounds; medians, ranges in brackets")
    return "\n\n".join(["\n".join(told), table.drain(results), table.enqueue(results)])


def write(results: Results) -> None:
    """Put the figures into the page in docs/, and the picture beside it."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(FIGURES.sub(lambda _: f"{page(results)}\n\n", text, count=1), "utf-8")
    PICTURE.write_text(picture(results), "utf-8")
    print(f"written: {PAGE}, {PICTURE}")


def picture(results: Results) -> str:
    """The drains as a bar chart."""
    bars = []
    for entry in ENTRIES.values():
        values = [each[entry.name].rate for each in results.rounds if entry.name in each]
        reason = results.not_run.get(entry.name, "")
        if not values and not reason:
            continue
        kind = {YARD: "yard"}.get(
            entry.name, "ours" if entry.name.startswith(OURS + "-") else "bar"
        )
        kind = "ours" if entry.name == OURS else kind
        note = "" if entry.durable else "(not durable)"
        bars.append(plot.Bar(entry.label, values, kind, note if values else reason[:60]))
    note = (
        f"One worker process, {results.about['machine']}, {results.about['server'].split(',')[0]}, "
        f"{results.about['date']}; median and range of {len(results.rounds)} rounds"
    )
    return plot.chart("No-op jobs per second, worked off a full queue", note, bars)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    made.add_argument("--rounds", type=int, default=3, help="of all entries (default 3)")
    made.add_argument(
        "--first", type=int, default=1, metavar="N", help="number of the first: it sets the order"
    )
    made.add_argument("--jobs", type=int, default=ALL, help=f"jobs a drain, at most ({ALL})")
    made.add_argument(
        "--only",
        type=chosen_names,
        default=list(ENTRIES),
        metavar="A,B",
        help=f"some of {','.join(ENTRIES)}; yardstick and pgqueue always run",
    )
    made.add_argument("--envs", type=Path, default=FOLDER, help="the peers' environments")
    made.add_argument("--dsn", help="a server where databases may be made, as a superuser")
    made.add_argument(
        "--bin",
        type=Path,
        default=os.environ.get("PGQUEUE_BENCH_BIN"),
        help="folder of the server's programs (default: PGQUEUE_BENCH_BIN, the wheel)",
    )
    made.add_argument("--json", type=Path, help="save the figures here")
    made.add_argument(
        "--read",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="measure nothing: join what --json saved",
    )
    made.add_argument(
        "--write", action="store_true", help="put the figures into docs/peers.md and .svg"
    )
    return made


def chosen_names(text: str) -> list[str]:
    """Names of entries, in the catalog's order."""
    names = set(text.split(",")) | {YARD, OURS}
    if unknown := names - ENTRIES.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among the entries")
    return [name for name in ENTRIES if name in names]
