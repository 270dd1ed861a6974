"""Claims while a million finished jobs are pruned, against claims while nothing is pruned.

A worker that has nothing else to do prunes; on a connection of its own somebody claims a hundred
jobs every 10 ms, and each claim is timed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding, percentile
from pgqueue import store
from pgqueue.config import Settings
from pgqueue.wire import Wire
from pgqueue.worker.lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from benchmarks.bench import Bench

FINISHED: Final = 1_000_000
CLAIMS: Final = 600
ROOM: Final = 100
EVERY: Final = 0.01
"""Seconds from one claim to the next."""

HISTORY: Final = """
    with made as (
        insert into pgqueue.jobs (
            task, args, state, lease, attempt, worker_id, created_at, run_at, started_at,
            finished_at
        )
        select 'async_nothing', jsonb_build_object('number', number, 'text', repeat('x', 72)),
            'succeeded', 2, 1, 1, ago, ago, ago, ago
        from generate_series(1, %s) as number,
            lateral (select now() - interval '2 days' + number * interval '1 ms' as ago) as time
        returning id
    )
    select max(id) from made"""
KEEP: Final = """
    insert into pgqueue.retention (task, state, keep) values ('*', 'succeeded', %s)
    on conflict (task, state) do update set keep = excluded.keep, set_by = 'operator'"""
FRONT: Final = """
    select coalesce((place ->> '86400')::bigint, 0) from pgqueue.steps where name = 'prune'"""


class Claims:
    """Times claims on a connection of its own."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._wire = Wire(connection, drain.PATIENCE)

    def timed(self, going_on: Callable[[int], bool]) -> list[float]:
        """Milliseconds of each claim, as long as `going_on` says so of their number."""
        lanes = Lanes(["default"])
        lanes.add("default", 0)
        times: list[float] = []
        due = time.perf_counter()
        while going_on(len(times)):
            times.append(self._one(lanes))
            due += EVERY
            time.sleep(max(due - time.perf_counter(), 0))
        return times

    def _one(self, lanes: Lanes) -> float:
        plan = lanes.plan(ROOM, time.monotonic())
        began = time.perf_counter()
        sent = store.send(self._wire, Settings(), worker_id=1, worker="", lanes=plan, room=ROOM)
        claimed = sent.receive().claimed
        took = time.perf_counter() - began
        if len(claimed) != ROOM:
            raise drain.BenchmarkError(f"a claim of {ROOM} jobs got {len(claimed)}")
        lanes.claimed(claimed)
        lanes.rest(plan, claimed, time.monotonic())
        return took * 1e3


def measure(place: Bench) -> list[Finding]:
    ratios, with_it, without, rates = [], [], [], []
    for number in range(place.rounds):
        calm, pruning, rate = _round(place)
        without.append(percentile(calm, 99))
        with_it.append(percentile(pruning, 99))
        ratios.append(with_it[-1] / without[-1])
        rates.append(rate)
        print(
            f"  round {number + 1}: p99 {with_it[-1]:.1f} ms of {len(pruning)} claims, without "
            f"{without[-1]:.1f} ms; {rate:,.0f} jobs pruned/s",
            flush=True,
        )
    return [
        Finding(what=f"a claim of {ROOM} during a prune, p99 over p99", values=ratios, at_most=2),
        Finding(what="the p99 of claims during it", values=with_it, unit="ms"),
        Finding(what="the p99 without it", values=without, unit="ms"),
        Finding(what="pruned meanwhile", values=rates, unit="jobs/s", digits=0),
    ]


def _round(place: Bench) -> tuple[list[float], list[float], float]:
    """The claims without and with a prune, and how many jobs a second that deleted."""
    worker = bench.worker("--processes", "1", "--queues", "elsewhere")
    with bench.fresh(place.databases) as (dsn, connection, _):
        connection.execute(KEEP, [None])
        [(last,)] = connection.execute(HISTORY, [place.sized(FINISHED)])
        bench.put(connection, place.sized(CLAIMS) * ROOM * 5)
        bench.settle(connection)
        with drain.running(worker, dsn) as process:
            drain.until(lambda: _known(connection), "no worker started", process)
            claims = Claims(connection)
            calm = claims.timed(lambda number: number < place.sized(CLAIMS))
            connection.execute(KEEP, ["1 day"])
            drain.until(lambda: _front(connection) > 0, "nothing is pruned", process)
            began, start = time.perf_counter(), _front(connection)
            pruning = claims.timed(
                lambda number: number < place.sized(CLAIMS) * 4 and _front(connection) < last
            )
            took = time.perf_counter() - began
            gone = min(_front(connection), last) - start
    return calm, pruning, gone / took


def _known(connection: psycopg.Connection[Any]) -> bool:
    return bool(connection.execute(FRONT).rowcount)


def _front(connection: psycopg.Connection[Any]) -> int:
    """How far the prune came, by id."""
    [(front,)] = connection.execute(FRONT)
    return int(front)
