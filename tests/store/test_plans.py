"""Plans of the hot path: generic and custom, small and large tables, stale and no statistics.

PgBouncer without prepared statements has custom plans only; everybody else comes to generic ones.
Nothing may scan `jobs` or `attempts` as a whole, and a claim must start at its floor.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue import store
from pgqueue.config import Settings
from tests.store.plans import Plan, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Databases

    Connection = psycopg.Connection[tuple[object, ...]]

HISTORY = """
insert into pgqueue.jobs (task, state, lease, attempt, worker_id, finished_at)
select 't', 'succeeded', 2, 1, i %% 50, now() from generate_series(1, %(jobs)s) as i"""
ATTEMPTS = """
insert into pgqueue.attempts (job_id, lease, attempt, outcome)
select i, l, 1, 'retried' from generate_series(1, %(jobs)s / 4) as i, generate_series(1, 2) as l"""
DUE = """
insert into pgqueue.jobs (task, queue, run_at)
select 't', case when i %% 10 = 0 then 'b' else 'a' end, now() - interval '1 hour'
from generate_series(1, %(jobs)s) as i"""
FUTURE = """
insert into pgqueue.jobs (task, queue, run_at, expires_at)
select 't', 'a', now() + interval '1 day', now() + interval '2 days'
from generate_series(1, %(jobs)s)"""
RUNNING = """
insert into pgqueue.jobs (task, state, worker_id, lease, attempt, started_at)
select 't', 'running', 1 + i % 3, 1, 1, now() from generate_series(1, 1500) as i"""
FORGET = """
update pg_class set reltuples = -1, relpages = 0, relallvisible = 0
where oid in ('pgqueue.jobs'::regclass, 'pgqueue.attempts'::regclass)"""
FORGET_COLUMNS = """
delete from pg_statistic
where starelid in ('pgqueue.jobs'::regclass, 'pgqueue.attempts'::regclass)"""


def build(connection: Connection, *, jobs: int, future: int, analyze_first: bool) -> None:
    """Fill the tables; statistics are taken of nothing, or of the history alone."""
    for table in ("jobs", "attempts"):
        connection.execute(f"alter table pgqueue.{table} set (autovacuum_enabled = off)".encode())
    if analyze_first:
        connection.execute("analyze pgqueue.jobs, pgqueue.attempts")
    connection.execute(HISTORY, {"jobs": jobs})
    connection.execute(ATTEMPTS, {"jobs": jobs})
    if not analyze_first:
        connection.execute("analyze pgqueue.jobs, pgqueue.attempts")
    connection.execute(DUE, {"jobs": jobs // 20})
    connection.execute(FUTURE, {"jobs": future})
    connection.execute(RUNNING)


@pytest.fixture(scope="module", params=["20,000 rows", "400,000 rows"])
def filled(
    request: pytest.FixtureRequest, databases: Databases, template: str
) -> Iterator[Connection]:
    """A connection to a filled database whose statistics are old."""
    with databases.fresh(template) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        if request.param == "20,000 rows":
            build(connection, jobs=20_000, future=1_000, analyze_first=True)
        else:
            build(connection, jobs=400_000, future=100_000, analyze_first=False)
        yield connection


@pytest.fixture(scope="module", params=["old", "no", "new"])
def tables(request: pytest.FixtureRequest, filled: Connection) -> Connection:
    """The same, with old, no, or new statistics."""
    if request.param == "no":
        filled.execute(FORGET)
        filled.execute(FORGET_COLUMNS)
    elif request.param == "new":
        filled.execute("analyze pgqueue.jobs, pgqueue.attempts")
    return filled


modes = pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
batches = pytest.mark.parametrize("batch", [1, 100, store.BATCH])


def assert_indexed(plan: Plan, table: str, *allowed: str) -> None:
    scans = plan.of(table)
    assert scans, f"{table} is not read at all"
    whole = [scan for scan in scans if scan.kind in ("Seq Scan", "Tid Range Scan")]
    assert not whole, f"{table} is scanned as a whole"
    assert {scan.index for scan in scans if scan.index} <= set(allowed)


def ids(batch: int) -> str:
    return "{" + ",".join(map(str, range(1, batch + 1))) + "}"


def ones(batch: int) -> str:
    return "{" + ",".join(["1"] * batch) + "}"


@modes
@batches
@pytest.mark.parametrize("lanes", [1, 20])
def test_a_claim_starts_at_the_floor_of_each_lane_and_sorts_nothing(
    tables: Connection, mode: str, batch: int, lanes: int
) -> None:
    values = {
        "worker_id": 1,
        "room": batch,
        "queues": "{" + ",".join(["a", "b"] * lanes)[: 2 * lanes - 1] + "}",
        "priorities": "{" + ",".join(["0"] * lanes) + "}",
        "floor_times": "{" + ",".join(["2026-01-01 00:00:00+00"] * lanes) + "}",
        "floor_ids": ones(lanes),
        "caps": "{" + ",".join([str(batch)] * lanes) + "}",
        "suspects": "false",
    }
    plan = explain(tables, mode, "claim", values)
    assert_indexed(plan, "jobs", "jobs_claim", "jobs_pkey")
    assert not {"Sort", "Incremental Sort"} & set(plan.kinds)
    [floored] = [scan for scan in plan.of("jobs") if scan.index == "jobs_claim"]
    assert floored.kind == "Index Scan"
    assert "ROW(run_at, id) > ROW(" in floored.condition
    assert "run_at <= " in floored.condition
    assert "queue = lane.queue" in floored.condition
    assert "priority = lane.priority" in floored.condition


@modes
@batches
@pytest.mark.parametrize("name", ["finish_succeeded", "finish_succeeded_waiting"])
def test_a_success_is_found_by_its_id(tables: Connection, mode: str, batch: int, name: str) -> None:
    values = {"ids": ids(batch), "leases": ones(batch), "results": None}
    plan = explain(tables, mode, name, values)
    assert_indexed(plan, "jobs", "jobs_pkey")


@modes
@batches
def test_every_other_end_is_found_by_its_id(tables: Connection, mode: str, batch: int) -> None:
    outcomes = [{"id": number, "lease": 1, "state": "ready"} for number in range(1, batch + 1)]
    values = {"outcomes": json.dumps(outcomes), "worker": "w"}
    plan = explain(tables, mode, "finish_unsuccessful", values)
    assert_indexed(plan, "jobs", "jobs_pkey")


@modes
@batches
def test_a_question_is_answered_by_primary_keys(tables: Connection, mode: str, batch: int) -> None:
    values = {"ids": ids(batch), "leases": ones(batch)}
    plan = explain(tables, mode, "settle", values)
    assert_indexed(plan, "jobs", "jobs_pkey")
    assert_indexed(plan, "attempts", "attempts_pkey")


@modes
@batches
def test_who_waits_reads_by_primary_keys(tables: Connection, mode: str, batch: int) -> None:
    plan = explain(tables, mode, "wait_look", {"ids": ids(batch)})
    assert_indexed(plan, "jobs", "jobs_pkey")
    assert_indexed(plan, "attempts", "attempts_pkey")


@modes
@batches
def test_progress_is_fenced_by_primary_keys(tables: Connection, mode: str, batch: int) -> None:
    reports = [(number, 1, 1, 1.0, None, None) for number in range(1, batch + 1)]
    plan = explain(tables, mode, "progress", {"reports": store.reports_document(reports)})
    assert_indexed(plan, "jobs", "jobs_pkey")


@modes
def test_reconcile_reads_what_the_worker_runs(tables: Connection, mode: str) -> None:
    plan = explain(tables, mode, "reconcile", {"worker_id": 2})
    assert_indexed(plan, "jobs", "jobs_running")


@modes
@pytest.mark.parametrize("started", [None, "{}", ids(300)])
def test_a_rescue_reads_what_the_dead_worker_ran(
    tables: Connection, mode: str, started: str | None
) -> None:
    values = {
        "worker_id": 2,
        "worker": "w",
        "started": started,
        "culprit": None,
        "intended": False,
        "crash_cap": 3,
    }
    plan = explain(tables, mode, "rescue", values)
    assert_indexed(plan, "jobs", "jobs_running", "jobs_pkey")
    picks = [scan for scan in plan.of("jobs") if scan.index == "jobs_running"]
    assert len(picks) == 1
    assert_indexed(plan, "attempts", "attempts_pkey")


@modes
def test_the_probe_walks_along_the_claims_index(tables: Connection, mode: str) -> None:
    values = {"names": "{probe,prune}", "pauses": "{1,1}", "queues": "{a,b}", "echo": "false"}
    plan = explain(tables, mode, "look", values)
    assert_indexed(plan, "jobs", "jobs_claim", "jobs_expiring")
    assert not [scan for scan in plan.of("jobs") if scan.kind.startswith("Bitmap")]


@modes
def test_silent_workers_are_found_along_the_index_of_running_jobs(
    tables: Connection, mode: str
) -> None:
    values = {"ids": "{1,2}", "queues": "{a,b}", "most": 8}
    plan = explain(tables, mode, "heartbeat", values)
    assert_indexed(plan, "jobs", "jobs_running", "jobs_suspects")


@modes
def test_suspects_are_found_among_the_few(tables: Connection, mode: str) -> None:
    plan = explain(tables, mode, "claim_suspect", {"worker_id": 1, "queues": "{a,b}"})
    assert_indexed(plan, "jobs", "jobs_suspects", "jobs_pkey")
    plan = explain(tables, mode, "waiting_suspects", {"queues": "{a,b}", "most": 8})
    assert_indexed(plan, "jobs", "jobs_suspects")


@modes
def test_expired_jobs_are_found_by_their_time(tables: Connection, mode: str) -> None:
    plan = explain(tables, mode, "expire", {})
    assert_indexed(plan, "jobs", "jobs_expiring", "jobs_pkey")
    picks = [scan for scan in plan.of("jobs") if scan.index == "jobs_expiring"]
    assert len(picks) == 1


@modes
@batches
@pytest.mark.parametrize("name", ["prune_part", "prune_preview"])
@pytest.mark.parametrize("badly", [False, True])
def test_a_prune_walks_the_primary_key_or_the_index_of_what_ended_badly(
    tables: Connection, mode: str, batch: int, name: str, badly: bool
) -> None:
    values = {
        "after": 5000,
        "until": 15000,
        "size": batch,
        "newest": 20000,
        "young": 86400,
        "older_than": None,
        "states": "{succeeded,dead,cancelled,expired}",
        "walk": "86400",
        "name": "prune",
        "badly": badly,
    }
    plan = explain(tables, mode, name, values)
    assert_indexed(plan, "jobs", "jobs_pkey", "jobs_ended_badly")
    # Nothing is sorted but the way that is not taken.
    above = [at for at, kind in enumerate(plan.kinds) if kind == "Sort"]
    assert {plan.kinds[at + 1] for at in above} <= {"Result"}
    ways = [scan for scan in plan.of("jobs") if "id <= " in scan.condition]
    assert {scan.kind for scan in ways} == {"Index Scan"}
    taken = {"jobs_ended_badly" if badly else "jobs_pkey"}
    # A generic plan has both, and decides when it is run.
    generic = mode == "force_generic_plan"
    assert {scan.index for scan in ways} == (
        {"jobs_pkey", "jobs_ended_badly"} if generic else taken
    )


@modes
@batches
def test_an_ephemeral_success_is_found_by_its_id(tables: Connection, mode: str, batch: int) -> None:
    plan = explain(tables, mode, "finish_ephemeral", {"ids": ids(batch), "leases": ones(batch)})
    assert_indexed(plan, "jobs", "jobs_pkey")


@modes
def test_dead_jobs_are_counted_along_their_index(tables: Connection, mode: str) -> None:
    plan = explain(tables, mode, "count_dead", {"cap": 10_001, "reach": 100_000})
    assert_indexed(plan, "jobs", "jobs_ended_badly")


@modes
def test_what_belongs_to_jobs_is_found_by_their_ids(tables: Connection, mode: str) -> None:
    """The function's plans are its own: what it read is counted instead."""
    counted = """
        select relname, seq_scan from pg_stat_xact_user_tables
        where schemaname = 'pgqueue' and seq_scan > 0"""
    with tables.transaction(force_rollback=True):
        store.execute(tables, "limits", store.limits(Settings()))
        tables.execute(f"set local plan_cache_mode = {mode}".encode())
        tables.execute("discard plans")
        before = tables.execute(counted).fetchall()
        tables.execute("select pgqueue.remove_jobs(%s::bigint[])", [ids(store.BATCH)])
        assert tables.execute(counted).fetchall() == before
        left = tables.execute(
            "select from pgqueue.jobs where id = any (%s::bigint[])", [ids(store.BATCH)]
        )
        assert left.rowcount == 0
