"""Procrastinate, on its default connector (psycopg, asynchronous).

Tuned: `concurrency`, and a pool large enough for it. It fetches and finishes job by job; no setting
changes that. 5 was the best of 2 to 30 here.
https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html
https://github.com/procrastinate-org/procrastinate/blob/main/docs/howto/basics/batch_defer.md
"""

from __future__ import annotations

import asyncio

from procrastinate import App, PsycopgConnector

from benchmarks.peers.programs.shared import (
    Enqueued,
    Stopwatch,
    arguments,
    chunks,
    dsn,
    tuned,
)

CONCURRENCY = 5

app = App(
    connector=PsycopgConnector(
        conninfo=dsn(),
        **({"min_size": CONCURRENCY, "max_size": CONCURRENCY + 10} if tuned() else {}),
    )
)


@app.task(name="nothing")
async def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    command = ["procrastinate", f"--app={__name__}.app", "worker"]
    return [*command, f"--concurrency={CONCURRENCY}"] if tuned() else command


def install() -> None:
    asyncio.run(_install())


async def _install() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def enqueue(one: int, many: int) -> Enqueued:
    return asyncio.run(_enqueue(one, many))


async def _enqueue(one: int, many: int) -> Enqueued:
    async with app.open_async():
        watch = Stopwatch()
        for given in arguments(one):
            await nothing.defer_async(**given)
        singles = watch()
        for chunk in chunks(list(arguments(many))):
            await nothing.batch_defer_async(*chunk)
        return Enqueued(singles, watch())
