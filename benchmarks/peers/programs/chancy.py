"""Chancy.

Its defaults run each job in a process pool and look for jobs every five seconds. Tuned: the
asynchronous executor, a concurrency of 300 (the best of 100 to 1,000 here) and `eager_polling`,
which looks again as soon as a job ends.
https://github.com/tktech/chancy/releases/tag/v0.25.0 (eager_polling)
https://tkte.ch/chancy/ (executors, concurrency)
"""

from __future__ import annotations

import asyncio

from chancy import Chancy, Queue, job

from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, dsn, tuned

CONCURRENCY = 300

app = Chancy(dsn())


@job(queue="default")
async def async_nothing(*, number: int, text: str) -> None:
    """Do nothing, on the event loop."""
    del number, text


@job(queue="default")
def nothing(*, number: int, text: str) -> None:
    """Do nothing, in a process: what the default executor runs."""
    del number, text


def worker() -> list[str]:
    return ["chancy", "--app", f"{__name__}.app", "worker", "start"]


def install() -> None:
    asyncio.run(_install())


async def _install() -> None:
    queue = Queue("default")
    if tuned():
        queue = Queue(
            "default",
            concurrency=CONCURRENCY,
            executor=Chancy.Executor.Async,
            eager_polling=True,
            polling_interval=1,
        )
    async with app:
        await app.migrate()
        await app.declare(queue)


def enqueue(one: int, many: int) -> Enqueued:
    return asyncio.run(_enqueue(one, many))


async def _enqueue(one: int, many: int) -> Enqueued:
    made = (async_nothing if tuned() else nothing).job
    async with app:
        watch = Stopwatch()
        for given in arguments(one):
            await app.push(made.with_kwargs(**given))
        singles = watch()
        async for _ in app.push_many([made.with_kwargs(**given) for given in arguments(many)]):
            pass
        return Enqueued(singles, watch())
