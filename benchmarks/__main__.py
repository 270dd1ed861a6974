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
from benchmarks import drain, enqueue, limits, report, server
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report import Round

DRAIN: Final = "drain"
"""What is measured when nobody says what."""
ENQUEUE: Final = "enqueue"
ROUNDS: Final = 5
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
        if arguments.what == ENQUEUE:
            return measure_enqueue(databases, about, arguments)
        if arguments.what != DRAIN:
            names = list(limits.LIMITS) if arguments.what == limits.ALL else [arguments.what]
            found = limits.run(
                names,
                databases,
                bin_dir=arguments.bin,
                rounds=arguments.rounds,
                quick=arguments.quick,
            )
            return limits.conclude(found, about, arguments.json)
        arguments.rounds = arguments.rounds or ROUNDS
        void, valid = measure(databases, arguments)
    rounds = [{"void": kind is void, **plain(each)} for kind in (void, valid) for each in kind]
    save(arguments, about, rounds)
    return conclude(valid, len(void), arguments)


def measure_enqueue(
    databases: server.Databases, about: dict[str, str], arguments: argparse.Namespace
) -> int:
    """Compare enqueueing with bare statements; the exit code."""
    with databases.filled("none", 0) as name:
        rounds = enqueue.measure(databases.dsn(name), arguments.rounds or ROUNDS)
    print(f"\n{enqueue.table(rounds)}")
    save(arguments, about, [plain(each) for each in rounds])
    return 0


def save(arguments: argparse.Namespace, about: dict[str, str], rounds: list[Any]) -> None:
    """Save the raw rounds where --json says."""
    if arguments.json:
        arguments.json.write_text(json.dumps({**about, "rounds": rounds}, indent=1) + "\n")


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
    made.add_argument(
        "what",
        nargs="?",
        default=DRAIN,
        choices=[DRAIN, ENQUEUE, *limits.LIMITS, limits.ALL],
        metavar="WHAT",
        help=f"{DRAIN} (default), {ENQUEUE}, one of {', '.join(limits.LIMITS)}, "
        f"or {limits.ALL} of these",
    )
    made.add_argument(
        "--rounds", type=positive, help=f"valid rounds ({DRAIN}: {ROUNDS}; the others have theirs)"
    )
    made.add_argument("--quick", action="store_true", help="a tenth of it, to see that it works")
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
