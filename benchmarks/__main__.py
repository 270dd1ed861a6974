"""Measure pgqueue against the yardstick, and print the table: `python -m benchmarks --help`.

Beside other job queues: `python -m benchmarks peers --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

import pgqueue
from benchmarks import drain, enqueue, report, server
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report import Round

TRIES: Final = 2
"""Rounds are repeated when void, up to so many times as many as were asked for."""


def main() -> int:
    if sys.argv[1:2] == ["peers"]:
        from benchmarks.peers import run as peers  # noqa: PLC0415 - only what is measured is loaded

        return peers.main(sys.argv[2:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped
    arguments = parser().parse_args()
    try:
        return run(arguments)
    except (drain.BenchmarkError, PgQueueError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(arguments: argparse.Namespace) -> int:
    """Measure, save and print; the exit code."""
    with contextlib.ExitStack() as stack:
        dsn = arguments.dsn or stack.enter_context(server.embedded(arguments.bin))
        databases = stack.enter_context(server.Databases(dsn))
        about = describe(databases, arguments)
        for name, value in about.items():
            print(f"{name}: {value}")
        enqueued: list[enqueue.Round] = []
        if arguments.part != "drain":
            with databases.filled("none", 0) as name:
                enqueued = enqueue.measure(databases.dsn(name), arguments.rounds)
            print(f"\n{enqueue.table(enqueued)}\n")
        if arguments.part == "enqueue":
            save(arguments, about, [], [], enqueued)
            return 0
        void, valid = measure(databases, arguments)
    save(arguments, about, void, valid, enqueued)
    return conclude(valid, len(void), arguments)


def save(
    arguments: argparse.Namespace,
    about: dict[str, str],
    void: list[Round],
    valid: list[Round],
    enqueued: list[enqueue.Round],
) -> None:
    """Save the raw rounds where --json says."""
    if not arguments.json:
        return
    rounds = [{"void": kind is void, **plain(each)} for kind in (void, valid) for each in kind]
    document = {**about, "rounds": rounds, "enqueue": [plain(each) for each in enqueued]}
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def measure(
    databases: server.Databases, arguments: argparse.Namespace
) -> tuple[list[Round], list[Round]]:
    """The void and the valid rounds."""
    void: list[Round] = []
    valid: list[Round] = []
    for number in range(TRIES * arguments.rounds):
        measured: Round = {}
        for name in rotated(arguments.only, number):
            contestant = drain.CONTESTANTS[name]
            measured[name] = drain.measure(contestant, databases, arguments.jobs)
            print(f"round {number + 1}: {name} {measured[name].rate:,.0f} jobs/s", flush=True)
        if report.is_void(measured, yardstick=drain.YARD, bare=drain.BARE):
            void.append(measured)
            print(f"round {number + 1} is void", flush=True)
        else:
            valid.append(measured)
        if len(valid) == arguments.rounds:
            break
    return void, valid


def conclude(valid: list[Round], void: int, arguments: argparse.Namespace) -> int:
    """Print the table; exit code 1 when too many rounds were void."""
    if valid:
        labels = {name: drain.CONTESTANTS[name].label for name in arguments.only}
        print(f"\n{report.table(valid, labels, yardstick=drain.YARD)}")
    print(
        f"\n{len(valid)} valid rounds, {void} void (yardstick below {report.VOID_BELOW} of claim "
        "and finish without handlers); medians, ranges in brackets; * for information"
    )
    if len(valid) < arguments.rounds:
        print("error: too many rounds were void: run again on a quieter machine", file=sys.stderr)
        return 1
    return 0


def rotated(names: list[str], by: int) -> Iterator[str]:
    """The names in another order each round, so that none always follows the same."""
    start = by % len(names)
    yield from names[start:]
    yield from names[:start]


def plain(measured: Round | enqueue.Round) -> dict[str, Any]:
    return {name: dataclasses.asdict(measurement) for name, measurement in measured.items()}


def describe(databases: server.Databases, arguments: argparse.Namespace) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "server": databases.version(),
        "client": f"Python {platform.python_version()}, psycopg {psycopg.__version__} "
        f"({psycopg.pq.__impl__}), pgqueue {pgqueue.__version__}",
        "jobs": f"{arguments.jobs} a drain, about 100 bytes of arguments",
    }


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--rounds", type=positive, default=5, help="valid rounds (default 5)")
    made.add_argument(
        "--part", choices=("all", "drain", "enqueue"), default="all", help="what to measure"
    )
    made.add_argument("--jobs", type=positive, default=100_000, help="jobs a drain (100000)")
    made.add_argument(
        "--only",
        type=chosen,
        default=list(drain.CONTESTANTS),
        metavar="A,B",
        help=f"some of {','.join(drain.CONTESTANTS)}; the first two always run",
    )
    place = made.add_mutually_exclusive_group()
    place.add_argument("--dsn", help="a server where databases may be made, as a superuser")
    place.add_argument(
        "--bin",
        type=Path,
        default=os.environ.get("PGQUEUE_BENCH_BIN"),
        help="folder of the server's programs (default: PGQUEUE_BENCH_BIN, the wheel)",
    )
    made.add_argument("--json", type=Path, help="save the raw rounds here")
    return made


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at least 1")
    return number


def chosen(text: str) -> list[str]:
    names = set(text.split(",")) | {drain.BARE, drain.YARD}
    if unknown := names - drain.CONTESTANTS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among the contestants")
    return [name for name in drain.CONTESTANTS if name in names]


if __name__ == "__main__":
    sys.exit(main())
