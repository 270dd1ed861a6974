"""The yardstick of latency: one connection that listens, claims, runs and finishes.

    PGQUEUE_DATABASE_URL=... python -m benchmarks.waker

Nothing but what a notified job must cost: no second thread, no poll, no limits. It stands in
`sleepers` like a worker that sleeps, so an enqueue does the same for both.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import stamps, yardstick

if TYPE_CHECKING:
    import psycopg

    from benchmarks.yardstick import Rows


async def handle(rows: Rows) -> None:
    for _, _, _, args, _ in rows:
        stamps.stamp(json.loads(args)["number"])


def work(connection: psycopg.Connection[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Claim, run and finish until there is nothing to claim."""
    floor = ("-infinity", 0)
    while rows := connection.execute(yardstick.CLAIM, floor, binary=True).fetchall():
        loop.run_until_complete(handle(rows))
        leases = yardstick.array(row[0] for row in rows), yardstick.array(row[1] for row in rows)
        connection.execute(yardstick.FINISH, leases, binary=True)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = yardstick.connect(os.environ["PGQUEUE_DATABASE_URL"])
    connection.execute('listen "pgqueue.default"')
    connection.execute("insert into pgqueue.sleepers values ('default', 1)")
    loop = asyncio.new_event_loop()
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while True:
        work(connection, loop)
        poll.poll()
        connection.pgconn.consume_input()
        while connection.pgconn.notifies():
            pass


if __name__ == "__main__":
    main()
