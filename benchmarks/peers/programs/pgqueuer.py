"""PgQueuer, on asyncpg: the driver that its documentation measures as the faster one.

Tuned: the batch size is raised for jobs that are short, and `pgq autovac` sets vacuum and
fillfactor, both as its guide advises; batches of 500 were the fastest of 100 to 2,000 here.
Its command runs on uvloop by itself. Modes that give up durability are left alone.
https://github.com/janbjorge/pgqueuer/blob/main/docs/guides/performance-tuning.md
https://github.com/janbjorge/pgqueuer/blob/main/docs/comparisons/benchmarks.md
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.peers.programs.shared import (
    Enqueued,
    Stopwatch,
    arguments,
    chunks,
    dsn,
    tuned,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgqueuer.models import Job

BATCH = 500


@contextlib.asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """What `pgq run` runs."""
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn())))

    @queue.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        json.loads(job.payload or b"")

    yield queue


def worker() -> list[str]:
    command = ["pgq", "run", f"{__name__}:main"]
    return [*command, "--batch-size", str(BATCH)] if tuned() else command


def install() -> None:
    asyncio.run(_install())


async def _install() -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(dsn())))
    await queries.install()
    if tuned():
        await queries.optimize_autovacuum()


def enqueue(one: int, many: int) -> Enqueued:
    return asyncio.run(_enqueue(one, many))


async def _enqueue(one: int, many: int) -> Enqueued:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(dsn())))
    watch = Stopwatch()
    for given in arguments(one):
        await queries.enqueue("nothing", json.dumps(given).encode())
    singles = watch()
    for chunk in chunks([json.dumps(given).encode() for given in arguments(many)]):
        size = len(chunk)
        await queries.enqueue(["nothing"] * size, chunk, [0] * size)
    return Enqueued(singles, watch())
