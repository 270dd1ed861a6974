"""Hundreds of transactional jobs under kills and cuts: every job has one effect, or this fails.

    python -m tests.worker.chaos --jobs 500 --seed 7

What happens, and when, is drawn from the seed; how it meets the jobs is not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue import store
from tests import servers
from tests.store.test_fence import rescue_values
from tests.worker.conftest import QUICK
from tests.worker.processes import Supervised, pids
from tests.worker.proxy import Proxy
from tests.worker.table import FINAL, Table
from tests.worker.transacting import EFFECTS, KINDS, task_name

if TYPE_CHECKING:
    from collections.abc import Callable

APP = "tests.worker.transactional_jobs:app"


@dataclass
class Chaos:
    """What is done to workers and connections.

    A strike for every fifth job: the workers must also get to work.

    Attributes:
        done: how often each thing was done.
    """

    table: Table
    proxy: Proxy
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        """Do one of the things."""
        things: list[Callable[[], object]] = [
            self.kill_a_worker,
            self.cut_before_a_commit,
            self.cut_after_a_commit,
            self.cut_all,
            self.end_backends,
            self.make_zombies,
        ]
        chosen = self.random.choices(things, [1, 3, 3, 1, 2, 2])[0]
        if chosen():
            self.done[getattr(chosen, "__name__", "?")] += 1

    def kill_a_worker(self) -> bool:
        for pid in pids(self.table).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def cut_before_a_commit(self) -> bool:
        self.proxy.cut = "before"
        return True

    def cut_after_a_commit(self) -> bool:
        self.proxy.cut = "after"
        return True

    def cut_all(self) -> bool:
        self.proxy.cut_all()
        return True

    def end_backends(self) -> bool:
        """Those of handlers in the middle of their transactions."""
        ended = self.table.connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'pgqueue:handler' "
            "and state like 'idle in transaction%'"
        )
        return bool(ended.fetchall())

    def make_zombies(self) -> bool:
        """Take the jobs from workers that go on with them."""
        taken = [
            store.run(self.table.connection, QUICK, "rescue", rescue_values(worker))
            for worker in pids(self.table)
        ]
        return any(taken)


@dataclass
class Found:
    """What a run came to."""

    jobs: int
    effects: int
    twice: int
    missing: int
    children: int
    states: dict[str, int]
    attempts: dict[str, int]

    @property
    def exact(self) -> bool:
        """Whether each job succeeded, with one effect and one child."""
        alone = self.twice == self.missing == 0 and self.states == {"succeeded": self.jobs}
        return alone and self.effects == self.children == self.jobs


def run(dsn: str, jobs: int, seed: int, patience: float = 300.0) -> tuple[Found, Counter[str]]:
    """Work so many jobs off while things are struck."""
    drawn = random.Random(seed)
    with psycopg.connect(dsn, autocommit=True) as connection, Proxy(dsn) as proxy:
        table = Table(connection)
        connection.execute(EFFECTS)
        proxy.role = b"pgqueue:handler"
        os.environ["PGQUEUE_DATABASE_URL"] = proxy.dsn
        names = [task_name(kind) for kind in KINDS]
        ids = [
            table.add_one(
                names[number % len(names)], args={"pause": drawn.random() / 10}, max_attempts=1000
            )
            for number in range(jobs)
        ]
        chaos = Chaos(table, proxy, drawn)
        end = time.monotonic() + patience
        with Supervised(proxy.dsn, "--processes", "2", app=APP):
            for _ in range(jobs // 5):
                time.sleep(drawn.uniform(0.1, 0.6))
                chaos.strike()
            proxy.cut = None
            while not over(table, ids) and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(1.0)  # zombies of late may still try
        return look(table, ids), chaos.done


def over(table: Table, ids: list[int]) -> bool:
    return table.count("id = any (%s) and state = any (%s)", ids, list(FINAL)) == len(ids)


def look(table: Table, ids: list[int]) -> Found:
    def pairs(query: str, *values: Any) -> dict[Any, int]:
        return dict(table.connection.execute(query.encode(), values).fetchall())

    effects = pairs("select job_id, count(*) from effects group by 1")
    return Found(
        jobs=len(ids),
        effects=sum(effects.values()),
        twice=sum(count > 1 for count in effects.values()),
        missing=len(set(ids) - effects.keys()),
        children=table.count("task = 'child'"),
        states=pairs(
            "select state, count(*) from pgqueue.jobs where id = any (%s) group by 1", ids
        ),
        attempts=pairs(
            "select outcome, count(*) from pgqueue.attempts where job_id = any (%s) group by 1", ids
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.worker.chaos")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    with servers.ordinary_server() as server:
        databases = servers.Databases(server)
        try:
            with databases.fresh(databases.template) as dsn:
                start = time.monotonic()
                found, done = run(dsn, arguments.jobs, arguments.seed)
        finally:
            databases.close()
    sys.stdout.write(f"{time.monotonic() - start:.0f} s; {dict(done)}\n{found}\n")
    return 0 if found.exact else 1


if __name__ == "__main__":
    sys.exit(main())
