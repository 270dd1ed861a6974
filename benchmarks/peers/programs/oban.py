"""Oban for Python, the free package.

Its guide starts a queue with a limit of 10 jobs at a time: that is "defaults" here. Tuned: the
limit, which is also the batch of a fetch and the only setting that the guide gives for speed; 500
was the best of 50 to 2,000 here, and more connections in its pool gave nothing. Its command uses
uvloop where that is installed: it is, in both.
https://github.com/oban-bg/oban-py/blob/main/docs/defining_queues.md
"""

from __future__ import annotations

import asyncio
from typing import Any

from oban import Oban, worker as oban_worker
from oban.schema import install as install_schema

from benchmarks.peers.programs.shared import (
    Enqueued,
    Stopwatch,
    arguments,
    chunks,
    dsn,
    tuned,
)

LIMIT = 500


@oban_worker(queue="default")
class Nothing:
    """Does nothing."""

    async def process(self, job: Any) -> None:
        """Do nothing."""


def worker() -> list[str]:
    command = ["oban", "start", "--dsn", dsn(), "--queues"]
    if tuned():
        return [*command, f"default:{LIMIT}"]
    return [*command, "default:10"]


def install() -> None:
    asyncio.run(_install())


async def _install() -> None:
    pool = await Oban.create_pool(dsn())
    await install_schema(pool)
    await pool.close()


def enqueue(one: int, many: int) -> Enqueued:
    return asyncio.run(_enqueue(one, many))


async def _enqueue(one: int, many: int) -> Enqueued:
    pool = await Oban.create_pool(dsn())
    queue = Oban(pool=pool)  # no queues: it only enqueues
    nothing: Any = Nothing  # its decorator adds `new`
    watch = Stopwatch()
    for given in arguments(one):
        await queue.enqueue(nothing.new(given))
    singles = watch()
    for chunk in chunks(list(arguments(many))):
        await queue.enqueue_many(nothing.new(given) for given in chunk)
    bulk = watch()
    await pool.close()
    return Enqueued(singles, bulk)
