"""From kill -9 to running elsewhere: of one worker's process, and of all that a machine has."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain, stamps
from benchmarks.finding import Finding, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from benchmarks.bench import Bench

JOBS: Final = 10
"""That run in the process that is killed."""
KILLS: Final = 20
MACHINES: Final = 4
TTL: Final = 12.0
HELD: Final = {"async_hold": "event loop", "thread_hold": "threads"}
PIDS: Final = "select pid from pgqueue.workers where pid > 0"
BUSY: Final = """
    select distinct pid from pgqueue.workers as worker
    join pgqueue.jobs as job on job.worker_id = worker.id and job.state = 'running'"""


def measure(place: Bench) -> list[Finding]:
    found = []
    for task, where in HELD.items():
        kills = [_process(place, task) for _ in range(max(place.sized(KILLS) // 2, 1))]
        each = [seconds for kill in kills for seconds in kill]
        found += [
            Finding(
                what=f"a process killed: its {JOBS} jobs on the {where} run again, median",
                values=[percentile(kill, 50) for kill in kills],
                unit="s",
                at_most=2.0,
            ),
            Finding(what="the last of them", values=[max(kill) for kill in kills], unit="s"),
        ]
        print(f"  {len(kills)} kills, {len(each)} jobs, {task}", flush=True)
    machines = [_machine(place) for _ in range(max(place.sized(10 * MACHINES) // 10, 1))]
    found.append(
        Finding(
            what=f"supervisor and worker killed: the last of {JOBS} jobs runs elsewhere",
            values=[max(machine) for machine in machines],
            unit="s",
            at_most=TTL + 1,
        )
    )
    return found


def _process(place: Bench, task: str) -> list[float]:
    """Kill a worker's process under a supervisor: seconds until each of its jobs runs again."""
    with _killed(place, task, machines=1) as (connection, started):
        [(pid,)] = connection.execute(PIDS)
        os.kill(pid, signal.SIGKILL)
        return _again(started)


def _machine(place: Bench) -> list[float]:
    """Kill a supervisor with its worker, while another of both is there."""
    with _killed(place, "async_hold", machines=2) as (connection, started):
        [(pid,)] = connection.execute(BUSY)
        for each in (_parent(pid), pid):
            os.kill(each, signal.SIGKILL)
        return _again(started)


@contextlib.contextmanager
def _killed(
    place: Bench, task: str, machines: int
) -> Iterator[tuple[psycopg.Connection[Any], stamps.Stamps]]:
    """Supervisors with a worker each, of which the oldest runs JOBS jobs that do not end."""
    with (
        bench.fresh(place.databases) as (dsn, connection, _),
        stamps.file() as started,
        contextlib.ExitStack() as running,
    ):
        for number in range(machines):
            running.enter_context(_supervised(dsn, started))
            drain.until(partial(_registered, connection, number + 1), "no worker registers")
            if not number:
                bench.put(connection, JOBS, task=task)
                drain.until(lambda: started.count() == JOBS, "the jobs do not start")
        if machines > 1:
            time.sleep(TTL + 1)  # until the other may tell who is dead
        yield connection, started


@contextlib.contextmanager
def _supervised(dsn: str, started: stamps.Stamps) -> Iterator[None]:
    """A supervisor with a worker; killed at the end, for its jobs do not end."""
    variables = {stamps.VARIABLE: str(started.path), "PGQUEUE_DATABASE_URL": dsn}
    quiet = subprocess.DEVNULL
    command = drain.PGQUEUE_WORKER
    with subprocess.Popen(
        command, cwd=drain.ROOT, env={**os.environ, **variables}, stdout=quiet, stderr=quiet
    ) as process:
        try:
            yield
        finally:
            process.kill()


def _again(started: stamps.Stamps) -> list[float]:
    killed = time.monotonic_ns()
    drain.until(lambda: started.count() == 2 * JOBS, "the jobs do not start again")
    return [(at - killed) / 1e9 for at in started.last().values()]


def _registered(connection: psycopg.Connection[Any], count: int) -> bool:
    return len(connection.execute(PIDS).fetchall()) == count


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[1])
