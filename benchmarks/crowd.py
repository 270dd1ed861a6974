"""Claims in a crowded table: millions of finished and of future jobs, many queues and priorities.

Four cases, each a drain by a worker and the time of its claim statement alone: a small table with
one lane; a small one with 50 queues of 20 priorities; a crowded one with one lane; a crowded one
with all lanes.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, drain
from benchmarks.finding import Finding, percentile
from pgqueue import store
from pgqueue.config import Settings
from pgqueue.wire import Wire
from pgqueue.worker.lanes import Lanes

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bench import Bench

FINISHED: Final = 10_000_000
FUTURE: Final = 1_000_000
JOBS: Final = 100_000
QUEUES: Final = 50
PRIORITIES: Final = 20
ROOM: Final = 100
"""Jobs in each claim that is timed."""
CLAIMED: Final = 20_000
"""Jobs claimed so."""

HISTORY: Final = """
    insert into pgqueue.jobs (
        task, args, queue, state, lease, attempt, worker_id, created_at, run_at, started_at,
        finished_at
    )
    select 'async_nothing', '{"number": 1, "text": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',
        'default', 'succeeded', 2, 1, 1, ago, ago, ago, ago
    from generate_series(1, %s) as number,
        lateral (select now() - interval '90 days' + number * interval '700 ms' as ago) as time"""
# A half in the lane `default`, a half over all others: what comes due lies behind these.
LATER: Final = """
    insert into pgqueue.jobs (task, args, queue, priority, run_at)
    select 'async_nothing', '{}',
        case when number %% 2 = 0 then 'default' else 'q' || number %% %(queues)s end,
        case when number %% 2 = 0 then 0 else number / %(queues)s %% %(priorities)s end,
        now() + interval '1 day' + number * interval '1 second'
    from generate_series(1, %(jobs)s) as number"""
KEEP: Final = "insert into pgqueue.retention (task, state) values ('*', 'succeeded')"
"""For ever: the worker that is measured must not prune the crowd."""
FORGET: Final = "delete from pgqueue.jobs where id between %s and %s"


@dataclass(frozen=True)
class Case:
    """One table, and how its due jobs are spread."""

    dsn: str
    connection: psycopg.Connection[Any]
    queues: int
    priorities: int

    def drained(self, jobs: int) -> float:
        """Jobs a second of a worker with all queues."""
        span = bench.put(self.connection, jobs, lanes=self._spread)
        bench.settle(self.connection)
        contestant = bench.worker("--processes", "1", "--queues", ",".join(self._names))
        with drain.running(contestant, self.dsn) as process:
            rate = span.worked_by(process, self.connection)
        self.connection.execute(FORGET, (span.first, span.last))
        return rate

    def claims(self, jobs: int) -> list[float]:
        """Milliseconds of each claim of ROOM jobs, with the floors that a worker would have."""
        span = bench.put(self.connection, jobs, lanes=self._spread)
        bench.settle(self.connection)
        lanes = Lanes(self._names)
        for queue, priority in itertools.product(self._names, range(self.priorities)):
            lanes.add(queue, priority)
        wire = Wire(self.connection, drain.PATIENCE)
        times = [_claim(wire, lanes) for _ in range(jobs // ROOM)]
        self.connection.execute(FORGET, (span.first, span.last))
        return times

    @property
    def _spread(self) -> tuple[int, int]:
        return self.queues, self.priorities

    @property
    def _names(self) -> list[str]:
        several = [f"q{number}" for number in range(self.queues)]
        return ["default"] if self.queues == 1 else several


def _claim(wire: Wire, lanes: Lanes) -> float:
    """Claim ROOM jobs: the milliseconds."""
    began = time.perf_counter()
    plan = lanes.plan(ROOM, time.monotonic())
    sent = store.send(wire, Settings(), worker_id=1, worker="", lanes=plan, room=ROOM)
    claimed = sent.receive().claimed
    took = time.perf_counter() - began
    if len(claimed) != ROOM:
        raise drain.BenchmarkError(f"a claim of {ROOM} jobs got {len(claimed)}")
    lanes.claimed(claimed)
    lanes.rest(plan, claimed, time.monotonic())
    return took * 1e3


def measure(place: Bench) -> list[Finding]:
    with (
        bench.fresh(place.databases) as (small, in_small, _),
        bench.fresh(place.databases) as (crowded, in_crowd, _),
    ):
        _crowd(place, in_crowd)
        cases = {
            "small": Case(small, in_small, 1, 1),
            "small, 50 x 20 lanes": Case(small, in_small, QUEUES, PRIORITIES),
            "crowded": Case(crowded, in_crowd, 1, 1),
            "crowded, 50 x 20 lanes": Case(crowded, in_crowd, QUEUES, PRIORITIES),
        }
        return _compare(place, cases)


def _crowd(place: Bench, connection: psycopg.Connection[Any]) -> None:
    began = time.monotonic()
    connection.execute(KEEP)
    connection.execute(HISTORY, [place.sized(FINISHED)])
    later = {"jobs": place.sized(FUTURE), "queues": QUEUES, "priorities": PRIORITIES}
    connection.execute(LATER, later)
    bench.settle(connection)
    print(f"  the table was filled in {time.monotonic() - began:.0f} s", flush=True)


def _compare(place: Bench, cases: dict[str, Case]) -> list[Finding]:
    ways = {name: partial(case.drained, place.sized(JOBS)) for name, case in cases.items()}
    rounds = [found for _, found in bench.interleaved(place, ways)]
    shares = [
        Finding(
            what=f"drain, {name}, over small",
            values=[found[name] / found["small"] for found in rounds],
            at_least=None if name == "small, 50 x 20 lanes" else 0.9,
        )
        for name in list(cases)[1:]
    ]
    return [*shares, *_claims(place, cases)]


def _claims(place: Bench, cases: dict[str, Case]) -> list[Finding]:
    times: dict[str, list[list[float]]] = {name: [] for name in cases}
    for _ in range(place.rounds):
        for name, case in cases.items():
            times[name].append(case.claims(max(place.sized(CLAIMED), 2000)))
    return [
        Finding(
            what=f"a claim of {ROOM}, {name}: {what}",
            values=[figure(found) for found in rounds],
            unit="ms",
        )
        for name, rounds in times.items()
        for what, figure in (("median", statistics.median), ("p99", lambda f: percentile(f, 99)))
    ]
