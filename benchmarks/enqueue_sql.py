"""What pgqueue.enqueue costs over bare statements that store the same jobs.

Interleaved rounds, medians. Times are CPU of the server process where /proc shows it (a server
on this machine), else elapsed. Single jobs share one transaction, bulk calls commit each.

    python benchmarks/enqueue_sql.py "host=/tmp user=postgres dbname=bench" --rounds 15

The database must be migrated (pgqueue migrate). Its pgqueue.jobs is EMPTIED.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = "photos.make_thumbnails"
ONE = json.dumps({"task": TASK, "args": {"photo_id": 42}})
PLAIN = [{"task": TASK, "args": {"photo_id": number}} for number in range(10_000)]
OPTIONS = {"queue": "mail", "priority": 3, "delay": 5, "max_attempts": 3, "timeout": 30}

ENQUEUE = "select pgqueue.enqueue(%s)"
BARE = "insert into pgqueue.jobs (task, args) values (%s, %s::jsonb) returning id"
NOTIFY = "select pg_notify('pgqueue.default', '0')"
BARE_BULK = """
    insert into pgqueue.jobs (task, args)
    select task, args from jsonb_to_recordset(%s::jsonb) as job (task text, args jsonb)"""
BARE_OPTIONS = """
    insert into pgqueue.jobs (task, args, queue, priority, run_at, max_attempts, timeout)
    select task, args, queue, priority, now() + delay * interval '1 s', max_attempts, timeout
    from jsonb_to_recordset(%s::jsonb) as job (task text, args jsonb, queue text,
        priority smallint, delay float8, max_attempts smallint, timeout float8) returning id"""
CLEAN = "truncate pgqueue.jobs, pgqueue.idempotency_keys, pgqueue.sleepers"
SLEEPER = "insert into pgqueue.sleepers values ('default', 1)"

# (name, the name it is compared with, calls in a round, statements, parameters of call n, setup)
Case = tuple[str, str, int, list[str], "Callable[[int], list[tuple[str, ...]]]", str]


def cases() -> list[Case]:
    plain, rich = json.dumps(PLAIN), json.dumps([job | OPTIONS for job in PLAIN])
    keyed = json.dumps([job | {"key": str(place)} for place, job in enumerate(PLAIN)])
    bare = (TASK, '{"photo_id": 42}')
    one, none = "1 job: insert", ""
    bulk, ids = "10,000 jobs: insert", "10,000 jobs: insert returning id"
    options = "10,000 jobs, 7 members: insert returning id"
    return [
        (one, one, 2000, [BARE], lambda _: [bare], none),
        ("1 job: enqueue", one, 2000, [ENQUEUE], lambda _: [(ONE,)], none),
        ("1 job: enqueue, new key", one, 2000, [ENQUEUE], lambda n: [(with_key(n),)], none),
        ("1 job: enqueue, known key", one, 2000, [ENQUEUE], lambda _: [(with_key(0),)], none),
        ("1 job: insert and notify", one, 2000, [BARE, NOTIFY], lambda _: [bare, ()], none),
        ("1 job: enqueue and notify", one, 2000, [ENQUEUE], lambda _: [(ONE,)], SLEEPER),
        (bulk, bulk, 1, [BARE_BULK], lambda _: [(plain,)], none),
        (ids, bulk, 1, [f"{BARE_BULK} returning id"], lambda _: [(plain,)], none),
        ("10,000 jobs: enqueue", bulk, 1, [ENQUEUE], lambda _: [(plain,)], none),
        ("10,000 jobs: enqueue, new keys", bulk, 1, [ENQUEUE], lambda _: [(keyed,)], none),
        (options, options, 1, [BARE_OPTIONS], lambda _: [(rich,)], none),
        ("10,000 jobs, 7 members: enqueue", options, 1, [ENQUEUE], lambda _: [(rich,)], none),
    ]


def with_key(number: int) -> str:
    return f'{{"task": "{TASK}", "args": {{"photo_id": 42}}, "key": "photo:{number}"}}'


def server_clock(pid: int) -> tuple[str, Callable[[], float]]:
    """What is measured, and a clock of it in seconds."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists() or "postgres" not in stat.read_text():
        return "elapsed", time.perf_counter
    schedule = Path(f"/proc/{pid}/schedstat")  # in nanoseconds; stat counts only in ticks
    if schedule.exists():
        return "server CPU", lambda: int(schedule.read_text().split()[0]) / 1e9
    tick = os.sysconf("SC_CLK_TCK")

    def used() -> float:
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / tick

    return "server CPU", used


def measure(connection: psycopg.Connection[Any], case: Case, clock: Callable[[], float]) -> float:
    """Microseconds for each call of one round."""
    _, _, calls, statements, parameters, setup = case
    connection.execute(CLEAN)
    if setup:
        connection.execute(setup.encode())
    connection.commit()
    given = [parameters(number) for number in range(calls)]
    before = clock()
    for call in given:
        for statement, values in zip(statements, call, strict=True):
            connection.execute(statement.encode(), values, prepare=True)
    if calls == 1:
        connection.commit()
    taken = clock() - before
    connection.commit()
    return taken / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    listed = cases()
    results: dict[str, list[float]] = {case[0]: [] for case in listed}
    with psycopg.connect(options.dsn) as connection:
        what, clock = server_clock(connection.info.backend_pid)
        for number in range(options.rounds + 1):
            for case in listed:
                taken = measure(connection, case, clock)
                if number:  # the first round warms up
                    results[case[0]].append(taken)
        connection.execute(CLEAN)
    print(f"{what}, median of {options.rounds} rounds; ratio: the bare statement's time over this")
    for name, bare, *_ in listed:
        ratio = statistics.median(
            one / other for one, other in zip(results[bare], results[name], strict=True)
        )
        print(f"{name:45} {statistics.median(results[name]):10.1f} us   ratio {ratio:5.2f}")


if __name__ == "__main__":
    main()
