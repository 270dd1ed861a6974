"""What enqueue costs over bare statements that store the same jobs.

Interleaved rounds, on one connection. A ratio is the bare line's time over this one's in the same
round, and its median; by the elapsed time of the caller, and by the CPU of the server process
where /proc shows it. Single jobs share a transaction, so that no fsync hides what they cost; what
takes many at once commits.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import report
from pgqueue.app import PgQueue
from pgqueue.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Connection = psycopg.Connection[Any]

SINGLE: Final = 2_000
MANY: Final = 10_000
HEAD: Final = ("", "ratio", "ratio by CPU", "us/job", "server us/job", "jobs/s")

TASK: Final = "photos.make_thumbnails"
PLAIN: Final = [{"task": TASK, "args": {"photo_id": number}} for number in range(MANY)]
OPTIONS: Final = {"queue": "mail", "priority": 3, "delay": 5, "max_attempts": 3, "timeout": 30}
JOBS: Final = [NewJob(task=TASK, args={"photo_id": number}) for number in range(MANY)]
RICH: Final = [job | OPTIONS for job in PLAIN]

ENQUEUE: Final = "select pgqueue.enqueue(%s)"
BARE: Final = "insert into pgqueue.jobs (task, args) values (%s, %s::jsonb) returning id"
NOTIFY: Final = "select pg_notify('pgqueue.default', '0')"
BARE_AND_NOTIFY: Final = (
    f"with made as ({BARE}) select id, pg_notify('pgqueue.default', '0') from made"
)
BARE_MANY: Final = """
    insert into pgqueue.jobs (task, args)
    select task, args from jsonb_to_recordset(%s::jsonb) as job (task text, args jsonb)
    returning id"""
BARE_RICH: Final = """
    insert into pgqueue.jobs (task, args, queue, priority, run_at, max_attempts, timeout)
    select task, args, queue, priority, now() + delay * interval '1 s', max_attempts, timeout
    from jsonb_to_recordset(%s::jsonb) as job (task text, args jsonb, queue text,
        priority smallint, delay float8, max_attempts smallint, timeout float8) returning id"""
BARE_COPY: Final = "copy pgqueue.jobs (task, args) from stdin"
CLEAN: Final = "truncate pgqueue.jobs, pgqueue.idempotency_keys, pgqueue.sleepers"
SLEEPER: Final = """
    with worker as (
        insert into pgqueue.workers
            (name, hostname, pid, version, queues, concurrency, threads, ttl)
        values ('sleeper', '', 0, '', '{default}', 1, 1, '1 day') returning id
    )
    insert into pgqueue.sleepers select 'default', id from worker"""


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        label: its name.
        base: the label of the line that it is compared with; its own if it is bare.
        jobs: how many one run stores.
        run: stores them.
        setup: a statement before, that is not measured.
    """

    label: str
    base: str
    jobs: int
    run: Callable[[Connection], object]
    setup: str = ""


@dataclass(frozen=True)
class Cost:
    """Microseconds of one job: for the caller, and of the server's CPU where it can be seen."""

    elapsed: float
    server: float | None


Round = dict[str, Cost]
"""What each line cost in one round, by its label."""


def lines() -> list[Line]:
    """All lines; a bare one comes before those that are compared with it."""
    one = json.dumps(PLAIN[42])
    keyed = [job | {"key": f"photo:{place}"} for place, job in enumerate(PLAIN)]
    insert, notify = "1 job: insert", "1 job: insert, then notify"
    many, rich = "10,000: insert", "10,000, 7 members: insert"
    made, copied = "10,000: insert from Python", "10,000: copy from Python"
    return [
        Line(insert, insert, SINGLE, singly((BARE, bare_values))),
        Line("1 job: enqueue", insert, SINGLE, singly((ENQUEUE, lambda _: (one,)))),
        Line("1 job: enqueue, new key", insert, SINGLE, singly((ENQUEUE, with_key))),
        Line("1 job: enqueue, known key", insert, SINGLE, singly((ENQUEUE, lambda _: with_key(0)))),
        Line(notify, notify, SINGLE, singly((BARE, bare_values), (NOTIFY, lambda _: ()))),
        Line(
            "1 job: insert and notify in one statement",
            notify,
            SINGLE,
            singly((BARE_AND_NOTIFY, bare_values)),
        ),
        Line("1 job: enqueue, wakes", notify, SINGLE, singly((ENQUEUE, lambda _: (one,))), SLEEPER),
        Line(many, many, MANY, at_once(BARE_MANY, PLAIN)),
        Line("10,000: enqueue", many, MANY, at_once(ENQUEUE, PLAIN)),
        Line("10,000: enqueue, new keys", many, MANY, at_once(ENQUEUE, keyed)),
        Line(rich, rich, MANY, at_once(BARE_RICH, RICH)),
        Line("10,000, 7 members: enqueue", rich, MANY, at_once(ENQUEUE, RICH)),
        Line(made, made, MANY, insert_made),
        Line("10,000: enqueue_many", made, MANY, enqueue_many),
        Line(copied, copied, MANY, bare_copy),
        Line("10,000: copy_jobs", copied, MANY, copy_jobs),
    ]


def bare_values(_: int) -> tuple[str, ...]:
    return TASK, '{"photo_id": 42}'


def with_key(number: int) -> tuple[str, ...]:
    return (json.dumps(PLAIN[42] | {"key": f"photo:{number}"}),)


def singly(
    *statements: tuple[str, Callable[[int], Sequence[str]]],
) -> Callable[[Connection], object]:
    """Statements for each job, all in one transaction that is not committed in time."""
    prepared = [(sql.encode(), [values(n) for n in range(SINGLE)]) for sql, values in statements]

    def run(connection: Connection) -> None:
        for number in range(SINGLE):
            for statement, values in prepared:
                connection.execute(statement, values[number], prepare=True)

    return run


def at_once(sql: str, jobs: list[dict[str, Any]]) -> Callable[[Connection], object]:
    """One statement with a document of all jobs, made before."""
    statement, document = sql.encode(), json.dumps(jobs)

    def run(connection: Connection) -> None:
        connection.execute(statement, (document,), prepare=True).fetchall()
        connection.commit()

    return run


def insert_made(connection: Connection) -> None:
    """What one would write by hand: the document is made, the ids are read."""
    connection.execute(BARE_MANY.encode(), (json.dumps(PLAIN),), prepare=True).fetchall()
    connection.commit()


def enqueue_many(connection: Connection) -> None:
    APP.using(connection).enqueue_many(JOBS)
    connection.commit()


def bare_copy(connection: Connection) -> None:
    """What one would write by hand: a row for each job."""
    with connection.cursor().copy(BARE_COPY.encode()) as rows:
        for job in PLAIN:
            rows.write_row((job["task"], json.dumps(job["args"])))
    connection.commit()


def copy_jobs(connection: Connection) -> None:
    APP.using(connection).copy_jobs(JOBS)
    connection.commit()


APP: Final = PgQueue("")  # never connects: it is given the connection


def measure(dsn: str, rounds: int) -> list[Round]:
    """Measure every line in each round; one round before warms up."""
    listed = lines()
    results: list[Round] = []
    with psycopg.connect(dsn) as connection:
        clock = server_clock(connection.info.backend_pid)
        for number in range(rounds + 1):
            measured = {line.label: cost(connection, line, clock) for line in listed}
            if number:
                results.append(measured)
                print(f"round {number}: enqueue measured", flush=True)
        connection.execute(CLEAN)
    return results


def cost(connection: Connection, line: Line, clock: Callable[[], float] | None) -> Cost:
    """What a job of a line costs in one run."""
    connection.execute(CLEAN)
    if line.setup:
        connection.execute(line.setup.encode())
    connection.commit()
    cpu, before = clock() if clock else 0.0, time.perf_counter()
    line.run(connection)
    elapsed = time.perf_counter() - before
    server = clock() - cpu if clock else None
    connection.commit()
    return Cost(elapsed / line.jobs * 1e6, None if server is None else server / line.jobs * 1e6)


def server_clock(pid: int) -> Callable[[], float] | None:
    """A clock of a server process's CPU in seconds; None where it cannot be seen."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists() or "postgres" not in stat.read_text():
        return None
    schedule = Path(f"/proc/{pid}/schedstat")  # in nanoseconds; stat counts only in ticks
    if schedule.exists():
        return lambda: int(schedule.read_text().split()[0]) / 1e9
    tick = os.sysconf("SC_CLK_TCK")

    def used() -> float:
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / tick

    return used


def table(rounds: list[Round]) -> str:
    """The figures; a ratio is the median of the ratios within each round."""
    rows = [list(HEAD)]
    for line in lines():
        costs = [measured[line.label] for measured in rounds]
        bases = [measured[line.base] for measured in rounds]
        pairs = list(zip(bases, costs, strict=True))
        elapsed = [base.elapsed / own.elapsed for base, own in pairs]
        server = [base.server / own.server for base, own in pairs if base.server and own.server]
        seen = [own.server for own in costs if own.server is not None]
        rows.append([line.label, report.spread(elapsed, "{:.2f}")])
        rows[-1] += [report.spread(server, "{:.2f}") if server else "-"]
        rows[-1] += [f"{statistics.median(own.elapsed for own in costs):.1f}"]
        rows[-1] += [f"{statistics.median(seen):.1f}" if seen else "-"]
        rows[-1] += [f"{statistics.median(1e6 / own.elapsed for own in costs):,.0f}"]
    return report.aligned(rows)
