"""A dead-letter desk with a million dead jobs: to look at it, and to requeue and delete them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bench, usage
from benchmarks.finding import Finding
from pgqueue.app import PgQueue
from pgqueue.views import JobFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from benchmarks.bench import Bench

DEAD: Final = 1_000_000
MOVED: Final = 100_000
RARE: Final = "0123456789abcdef"
MIB: Final = 1024 * 1024

# A third of the table are jobs that succeeded; of the dead ones a tenth have keys.
FILL: Final = """
    insert into pgqueue.jobs (task, queue, state, lease, attempt, finished_at, key, args)
    select 't' || n %% 20, 'q' || n %% 5, case when n %% 3 = 0 then 'succeeded' else 'dead' end,
        2, 1, now() - n * interval '1 ms', case when n %% 10 = 1 then 'key-' || n end,
        '{"order_id": 17}'
    from generate_series(1, %(jobs)s * 3 / 2) as n"""
DIED: Final = """
    insert into pgqueue.attempts
        (job_id, lease, attempt, outcome, error_type, message, traceback, fingerprint)
    select id, 1, 1, 'dead', 'ValueError', 'order ' || id || ' is odd', repeat('line of it ', 100),
        case when id = %(rare_id)s then %(rare)s else left(md5(task), 16) end
    from pgqueue.jobs where state = 'dead'"""


def measure(place: Bench) -> list[Finding]:
    with bench.fresh(place.databases) as (dsn, connection, _), PgQueue(dsn) as app:
        _fill(connection, place.sized(DEAD))
        looks = {
            "groups": app.inspector.groups,
            "groups of one task": lambda: app.inspector.groups(
                JobFilter(states=["dead"], tasks=["t7"])
            ),
            "every job of one rare error": lambda: list(
                app.inspector.ids(JobFilter(fingerprints=[RARE]))
            ),
        }
        found = [
            Finding(what=what, values=[_seconds(look) for _ in range(3)], unit="s")
            for what, look in looks.items()
        ]
        return [*found, *_move(app, place.sized(MOVED))]


def _fill(connection: psycopg.Connection[Any], jobs: int) -> None:
    connection.execute(FILL, {"jobs": jobs})
    connection.execute(DIED, {"rare": RARE, "rare_id": jobs})
    connection.execute("vacuum analyze pgqueue.attempts")
    bench.settle(connection)


def _move(app: PgQueue, jobs: int) -> list[Finding]:
    """Requeue, and delete, the oldest; the process keeps nothing of them."""
    dead = JobFilter(states=["dead"])
    before = usage.resident_bytes(os.getpid())
    findings = []
    for what, act in (("requeued", app.operator.requeue), ("deleted", app.operator.delete)):
        seen: list[int] = []

        def run(act: Callable[..., object] = act, seen: list[int] = seen) -> None:
            ids = app.inspector.ids(dead, limit=jobs)
            act(ids, states=["dead"], on_batch=lambda batch: seen.append(len(batch.done)))

        rate = jobs / _seconds(run)
        assert sum(seen) == jobs
        findings.append(
            Finding(what=f"{what}, of {jobs:,}", values=[rate], unit="jobs/s", digits=0)
        )
    grown = (usage.resident_bytes(os.getpid()) - before) / MIB
    return [*findings, Finding(what="memory grown by that", values=[grown], unit="MiB", at_most=10)]


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
