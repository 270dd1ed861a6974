"""The yardstick: a worker with no feature but speed, and the bare loop that keeps it honest.

    PGQUEUE_DATABASE_URL=... python -m benchmarks.yardstick [--bare]

The same table, indexes and storage settings as pgqueue. Plain psycopg, batches of 500: one
connection claims ahead while another finishes; in between, each job's arguments are decoded and
an `async def` that does nothing is awaited. No retries, no heartbeat, no timeouts, no context,
no uvloop. `--bare` leaves out decoding and handlers: claim and finish alone.

Forms that were tried, 200,000 jobs, PostgreSQL 18.6, 2 cores, three interleaved rounds, medians in
jobs/s. The noise was 10 %; the bare loop ran at 149,000 in the same rounds.

    a thread for each connection, handlers between them on the main thread     135,000   (kept)
    the claims in a thread, handlers and finish on the main thread             126,000
    claims and handlers in a thread, finish on the main thread                 122,000
    one event loop, two tasks: claims; handlers and finish                     104,000
    one event loop, three tasks                                                 99,000
    one connection, finish and claim in one pipelined transaction               87,000
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from concurrent.futures import Future
    from datetime import datetime

AHEAD: Final = 2
"""Claims under way or waiting: one more gained nothing."""

SESSION: Final = """
    select set_config('enable_hashjoin', 'off', false),
        set_config('enable_mergejoin', 'off', false)"""

CLAIM: Final = """
    update pgqueue.jobs
    set state = 'running', lease = lease + 1, attempt = attempt + 1,
        worker_id = 1, started_at = now()
    where id = any (array(
        select id from pgqueue.jobs
        where state = 'ready' and queue = 'default' and priority = 0
            and (run_at, id) > (%s::timestamptz, %s::bigint) and run_at <= now()
        order by run_at, id
        limit 500
        for no key update skip locked
    ))
    returning id, lease, task, args::text, run_at"""

FINISH: Final = """
    update pgqueue.jobs as job
    set state = 'succeeded', lease = job.lease + 1, finished_at = clock_timestamp()
    from unnest(%s::bigint[], %s::bigint[]) as done (id, lease)
    where job.id = done.id and job.lease = done.lease
    returning job.id"""

Rows = list[tuple[int, int, str, str, "datetime"]]


class Claimer:
    """Claims batch after batch, from a floor on that rises with each."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self._floor: tuple[datetime | str, int] = ("-infinity", 0)

    def __call__(self) -> Rows:
        rows: Rows = self._connection.execute(CLAIM, self._floor, binary=True).fetchall()
        if rows:
            id_, *_, run_at = rows[-1]
            self._floor = (run_at, id_)
        return rows


class Finisher:
    """Records the success of a batch."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)

    def __call__(self, rows: Rows) -> None:
        leases = array(row[0] for row in rows), array(row[1] for row in rows)
        recorded = self._connection.execute(FINISH, leases, binary=True).fetchall()
        if len(recorded) != len(rows):
            raise RuntimeError(f"{len(rows)} jobs were finished, {len(recorded)} of them recorded")


def connect(dsn: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute(SESSION)
    connection.prepare_threshold = 0
    return connection


def array(numbers: Iterable[int]) -> str:
    """A PostgreSQL array as text: cheaper than adapting a list."""
    return "{" + ",".join(map(str, numbers)) + "}"


def drain(dsn: str, work: Callable[[Rows], object]) -> None:
    """Claim, work and finish until there is nothing to claim."""
    claim, finish = Claimer(dsn), Finisher(dsn)
    with ThreadPoolExecutor(1) as claims, ThreadPoolExecutor(1) as finishes:
        ahead = deque(claims.submit(claim) for _ in range(AHEAD))
        finishing: Future[None] | None = None
        while rows := ahead.popleft().result():
            ahead.append(claims.submit(claim))
            work(rows)
            if finishing is not None:
                finishing.result()
            finishing = finishes.submit(finish, rows)
        if finishing is not None:
            finishing.result()


async def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


HANDLERS: Final[dict[str, Callable[..., Awaitable[None]]]] = {"async_nothing": nothing}


async def handle(rows: Rows) -> None:
    for _, _, task, args, _ in rows:
        await HANDLERS[task](**json.loads(args))


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, within moments
    dsn = os.environ["PGQUEUE_DATABASE_URL"]
    if sys.argv[1:] == ["--bare"]:
        drain(dsn, lambda _: None)
        return
    loop = asyncio.new_event_loop()
    drain(dsn, lambda rows: loop.run_until_complete(handle(rows)))
    loop.close()


if __name__ == "__main__":
    main()
