"""What an idle worker costs: its queries by part, its CPU, and what a thousand cost a server.

The thousand are simulated: their rows stand in the tables, and every statement of the one that
was watched is replayed a thousand times as often. Which of them probes for all is decided by the
statement itself, as ever.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks import bench, drain, statements, usage
from benchmarks.finding import Finding
from benchmarks.latency import asleep
from pgqueue import store
from pgqueue.config import Settings
from pgqueue.wire import Wire
from pgqueue.worker import cells
from pgqueue.worker.attendants import TURNS
from pgqueue.worker.lanes import Lanes
from pgqueue.worker.steps.look import PROBE_EVERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.server import Databases

SETTLING: Final = 40.0
"""Seconds until all parts are near their usual pace: prune looks less and less often."""
MANY: Final = 1000
CLIENTS: Final = 4
WORKERS: Final = """
    insert into pgqueue.workers (name, hostname, pid, version, queues, concurrency, threads, ttl)
    select 'host:' || number, 'host', number, '', '{default}', 100, 16, '1 hour'
    from generate_series(1, %s) as number returning id"""
KEPT: Final = """
    insert into pgqueue.jobs (task, state, created_at, finished_at)
    select 'kept', case when number % 100 = 0 then 'dead' else 'succeeded' end, ended, ended
    from generate_series(1, 10000) as number, (select now() - interval '1 hour') as hour (ended)"""
"""Jobs that have ended and are kept: there is something for prune to look at."""
SLEEPERS: Final = "insert into pgqueue.sleepers select 'default', id from pgqueue.workers"


@dataclass(frozen=True)
class Watched:
    """An idle worker: statements a second by name, and cores, of Python and of the server."""

    rates: dict[str, float]
    python: float
    server: float


def measure(place: Bench) -> list[Finding]:
    seconds = 10.0 if place.quick else 60.0
    with place.own_server(shared_preload_libraries="pg_stat_statements") as databases:
        watched = _watch(databases, seconds)
        for name, rate in sorted(watched.rates.items(), key=lambda part: -part[1]):
            print(f"  {rate:5.2f} a second: {name}", flush=True)
        wanted, replayed, core = _replay(databases, watched.rates, min(seconds, 20.0))
    limits = watched.rates.get("limits", 0.0)
    return [
        _figure("statements of an idle worker", sum(watched.rates.values()), "/s", at_most=1.0),
        _figure("of them time limits before each of the others", limits, "/s"),
        *(
            _figure(f"of them {name}", rate, "/s")
            for name, rate in sorted(watched.rates.items(), key=lambda part: -part[1])
            if name != "limits"
        ),
        _figure("its CPU", watched.python * 100, "% of a core", at_most=0.5),
        _figure("the server's CPU for it", watched.server * 100, "% of a core"),
        _figure(f"{MANY} idle workers: transactions", wanted, "/s"),
        _figure(f"{MANY} idle workers: replayed", replayed, "/s"),
        _figure(f"{MANY} idle workers: the server's CPU", core * 100, "% of a core", at_most=100),
    ]


def _figure(what: str, value: float, unit: str, at_most: float | None = None) -> Finding:
    return Finding(what=what, values=[value], unit=unit, at_most=at_most)


def _watch(databases: Databases, seconds: float) -> Watched:
    with bench.fresh(databases) as (dsn, connection, _):
        connection.execute("create extension pg_stat_statements")
        connection.execute(KEPT)
        bench.settle(connection)
        server = usage.server_pid(connection.info.backend_pid)
        with drain.running(bench.worker("--processes", "1"), dsn) as process:
            drain.until(lambda: asleep(connection), "the worker does not go to sleep", process)
            time.sleep(SETTLING)
            connection.execute("select pg_stat_statements_reset()")
            before = _cpu(process.pid), _cpu(server, without=connection.info.backend_pid)
            began = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            after = _cpu(process.pid), _cpu(server, without=connection.info.backend_pid)
            calls = statements.calls(connection)
    python, spent = (b - a for a, b in zip(before, after, strict=True))
    return Watched({name: n / took for name, n in calls.items()}, python / took, spent / took)


def _cpu(pid: int | None, without: int | None = None) -> float:
    seconds = None if pid is None else usage.cpu_seconds(pid, without=without)
    if seconds is None:
        raise drain.BenchmarkError("CPU times can only be read on Linux")
    return seconds


def _replay(
    databases: Databases, rates: dict[str, float], seconds: float
) -> tuple[float, float, float]:
    """Transactions a second that MANY workers make, how many were made, and cores for all."""
    with bench.fresh(databases) as (dsn, connection, _):
        ids = [row[0] for row in connection.execute(WORKERS, [MANY])]
        connection.execute(SLEEPERS)
        store.run(connection, Settings(), "add_steps", {"names": list(TURNS)})
        bench.settle(connection)
        server = usage.server_pid(connection.info.backend_pid)
        plan = {name: rate * MANY for name, rate in rates.items() if name in CALLS}
        clients = [Client(dsn, plan, ids, number) for number in range(CLIENTS)]
        before = _cpu(server)
        made = sum(_all(clients, seconds))
        cores = (_cpu(server) - before) / seconds
    wanted = sum(plan.values())
    return wanted, made / seconds, cores * wanted / (made / seconds)


def _all(clients: list[Client], seconds: float) -> list[int]:
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=client.run, args=[until]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [client.made for client in clients]


class Client:
    """Replays its share of the statements, in the pace of all workers together."""

    def __init__(self, dsn: str, plan: dict[str, float], ids: list[int], turn: int) -> None:
        self._dsn, self._plan, self._ids, self._turn = dsn, plan, ids, turn
        self.made = 0

    def run(self, until: float) -> None:
        begun = time.monotonic()
        due = {name: begun for name, rate in self._plan.items() if rate}
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            wire = Wire(connection, drain.PATIENCE)
            while (now := time.monotonic()) < until:
                name = min(due, key=due.__getitem__)
                if due[name] > now:
                    time.sleep(min(due[name], until) - now)
                    continue
                due[name] += CLIENTS / self._plan[name]
                self._turn += CLIENTS
                CALLS[name](wire, self._ids[self._turn % len(self._ids)])
                self.made += 1


def _run(statement: str, /, **values: Any) -> Callable[[Wire, int], object]:
    """Replays a statement; a value that is a function is made from the worker's id."""

    def call(wire: Wire, worker: int) -> object:
        made = {key: value(worker) if callable(value) else value for key, value in values.items()}
        return store.run(wire.connection, Settings(), statement, made)

    return call


def _claim(wire: Wire, worker: int) -> object:
    plan = Lanes(["default"]).plan(116, 0.0)
    sent = store.send(wire, Settings(), worker_id=worker, worker="", lanes=plan, room=100)
    return sent.receive()


CALLS: Final[dict[str, Callable[[Wire, int], object]]] = {
    "claim": _claim,
    "look": _run(
        "look", names=list(TURNS), pauses=[PROBE_EVERY] * len(TURNS), queues=["default"], echo=False
    ),
    "reconcile": _run("reconcile", worker_id=lambda worker: worker),
    "heartbeat": _run(
        "heartbeat", ids=lambda worker: store.array([worker]), queues=["default"], most=cells.MOST
    ),
}
