"""One and two worker processes against the yardstick with as many.

Run as a program, it is the yardstick with several processes: `python -m benchmarks.processes 2`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks import bench, drain, report
from benchmarks.finding import Finding

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.report import Round

JOBS = 200_000


def measure(place: Bench) -> list[Finding]:
    rounds = list(_rounds(place))
    two = [_ratio(measured, "two", "two yardsticks") for measured in rounds]
    return [
        Finding(what="async handlers, over the yardstick", at_least=0.85, values=_share(rounds)),
        Finding(
            what="`def` handlers, over the yardstick",
            at_least=0.45,
            values=[_ratio(measured, "threads", drain.YARD) for measured in rounds],
        ),
        Finding(what="two processes, over two yardsticks", at_least=0.85, values=two),
        Finding(
            what="two processes, over one",
            values=[_ratio(measured, "two", "pgqueue") for measured in rounds],
        ),
        Finding(
            what="Python CPU a job, async",
            values=[_python(measured) for measured in rounds],
            unit="us",
            at_most=30,
            digits=0,
        ),
    ]


def _rounds(place: Bench) -> list[Round]:
    """Valid rounds, as many as asked for; BenchmarkError when too many are void."""
    contestants = {
        **drain.CONTESTANTS,
        "two yardsticks": bench.module("processes", "2"),
        "two": drain.Contestant("two", bench.TASK, (*drain.PGQUEUE_WORKER[:-1], "2")),
    }
    names, valid = list(contestants), []
    for number in range(2 * place.rounds):
        turn = number % len(names)
        measured = {
            name: drain.measure(contestants[name], place.databases, place.sized(JOBS))
            for name in (*names[turn:], *names[:turn])
        }
        void = report.is_void(measured, yardstick=drain.YARD, bare=drain.BARE)
        rates = ", ".join(f"{name} {measured[name].rate:,.0f}" for name in names)
        print(f"  round {number + 1}{' is void' if void else ''}: {rates} jobs/s", flush=True)
        if not void:
            valid.append(measured)
        if len(valid) == place.rounds:
            return valid
    raise drain.BenchmarkError("too many rounds were void: run again on a quieter machine")


def _share(rounds: list[Round]) -> list[float]:
    return [_ratio(measured, "pgqueue", drain.YARD) for measured in rounds]


def _ratio(measured: Round, name: str, over: str) -> float:
    return measured[name].rate / measured[over].rate


def _python(measured: Round) -> float:
    run = measured["pgqueue"]
    return (run.python_cpu or 0.0) / run.jobs * 1e6


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the yardsticks end by themselves
    yardsticks = [subprocess.Popen(drain.YARDSTICK) for _ in range(int(sys.argv[1]))]
    sys.exit(max(abs(yardstick.wait()) for yardstick in yardsticks))


if __name__ == "__main__":
    main()
