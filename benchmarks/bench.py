"""What every measurement gets, and what many of them do: a worker, and jobs that it works."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import drain, server
from benchmarks.drain import BenchmarkError, Contestant

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.server import Databases

TASK: Final = "async_nothing"

INSERT: Final = """
    with made as (
        insert into pgqueue.jobs (task, args, queue, priority)
        select %(task)s, jsonb_build_object('number', number, 'text', repeat('x', 72)),
            case when %(queues)s = 1 then 'default' else 'q' || number %% %(queues)s end,
            number / %(queues)s %% %(priorities)s
        from generate_series(1, %(jobs)s) as number
        returning id
    )
    select coalesce(min(id), 1), coalesce(max(id), 0) from made"""
# From the first job on that was not finished when we looked last.
NEXT: Final = """
    select id from pgqueue.jobs
    where id between %s and %s and task = %s and finished_at is null
    order by id limit 1"""
WORKED: Final = """
    select count(*) filter (where state = 'succeeded'),
        extract(epoch from max(finished_at) - min(started_at))::float8
    from pgqueue.jobs where id between %s and %s and task = %s"""


@dataclass(frozen=True)
class Bench:
    """Where and how to measure.

    Attributes:
        databases: on the server that is measured.
        bin: of servers that a measurement starts for itself.
        rounds: how often.
        quick: with less, to see whether it works.
    """

    databases: Databases
    bin: Path | None
    rounds: int
    quick: bool

    def sized(self, jobs: int) -> int:
        """So many jobs, or a tenth of them."""
        return jobs // 10 if self.quick else jobs

    @contextlib.contextmanager
    def own_server(self, **settings: str) -> Iterator[Databases]:
        """A server with settings of its own, which other measurements must not meet."""
        with (
            server.embedded(self.bin, settings) as dsn,
            server.Databases(dsn) as databases,
        ):
            yield databases


@dataclass(frozen=True)
class Span:
    """Jobs that were made together: their ids, and their task."""

    first: int
    last: int
    task: str

    def _bounds(self) -> tuple[int, int, str]:
        return self.first, self.last, self.task

    def rate(self, connection: psycopg.Connection[Any]) -> float:
        """Jobs a second, from the first claim to the last finish; all have to have succeeded."""
        [(right, seconds)] = connection.execute(WORKED, self._bounds())
        jobs = self.last - self.first + 1
        if right != jobs:
            raise BenchmarkError(f"{right} of {jobs} jobs succeeded")
        return float(jobs / seconds)

    def worked_by(
        self, process: subprocess.Popen[bytes], connection: psycopg.Connection[Any]
    ) -> float:
        """Wait until a running worker has worked them all; jobs a second."""
        at = self.first

        def done() -> bool:
            nonlocal at
            row = connection.execute(NEXT, (at, self.last, self.task)).fetchone()
            at = row[0] if row else self.last
            return row is None

        drain.until(done, f"not all jobs of {self.task} are finished", process)
        return self.rate(connection)


def put(
    connection: psycopg.Connection[Any],
    jobs: int,
    *,
    task: str = TASK,
    lanes: tuple[int, int] = (1, 1),
) -> Span:
    """Add jobs that are due now.

    Args:
        connection: in autocommit mode.
        jobs: how many.
        task: theirs.
        lanes: over how many queues (1: default; more: q0, q1, ...) and priorities (from 0 on).
    """
    values = {"task": task, "jobs": jobs, "queues": lanes[0], "priorities": lanes[1]}
    [(first, last)] = connection.execute(INSERT, values)
    return Span(first, last, task)


def settle(connection: psycopg.Connection[Any]) -> None:
    """Leave nothing to do for the server that belongs to an earlier step."""
    connection.execute("vacuum (analyze) pgqueue.jobs")
    connection.execute("checkpoint")


def worker(*options: str) -> Contestant:
    """`pgqueue worker` with other options than the defaults."""
    label = " ".join(("pgqueue worker", *options))
    return Contestant(label, TASK, (*drain.PGQUEUE_WORKER, *options))


def module(name: str, *arguments: str, task: str = TASK) -> Contestant:
    """A program of this folder."""
    return Contestant(name, task, (sys.executable, "-m", f"benchmarks.{name}", *arguments))


@contextlib.contextmanager
def connected(databases: Databases, name: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to one of the databases, in autocommit mode."""
    with psycopg.connect(databases.dsn(name), autocommit=True) as connection:
        yield connection


@contextlib.contextmanager
def fresh(
    databases: Databases, jobs: int = 0
) -> Iterator[tuple[str, psycopg.Connection[Any], Span]]:
    """A new database with due jobs: its DSN, a connection to it, and the jobs."""
    with databases.filled(TASK, 0) as name, connected(databases, name) as connection:
        span = put(connection, jobs)
        settle(connection)
        yield databases.dsn(name), connection, span


def interleaved(
    bench: Bench, ways: Mapping[str, Callable[[], float]]
) -> Iterator[tuple[int, dict[str, float]]]:
    """Call every way once a round, each round in another order: their figures, round by round."""
    names = list(ways)
    for number in range(bench.rounds):
        turn = number % len(names)
        found = {name: ways[name]() for name in (*names[turn:], *names[:turn])}
        shown = ", ".join(f"{name} {found[name]:,.4g}" for name in names)
        print(f"  round {number + 1}: {shown}", flush=True)
        yield number, found
