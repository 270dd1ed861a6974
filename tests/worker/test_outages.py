"""The database goes away: a connection, all connections, the server, the heartbeat's answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue import connections
from pgqueue.context import JobContext
from pgqueue.telemetry import events
from pgqueue.worker import refusals
from pgqueue.worker.steps import look
from tests.waiting import wait_until
from tests.worker.proxy import Proxy
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.embedded import EmbeddedServer
    from tests.worker.conftest import Running

    Work = Callable[..., Running]


def terminate_backends(table: Table, role: str = "%") -> int:
    """End pgqueue's connections of one role, other than the test's own."""
    row = table.connection.execute(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid() "
        "and application_name like %s",
        [f"pgqueue:{role}"],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_terminated_backends_cost_no_job(app: PgQueue, table: Table, work: Work) -> None:
    runs: list[tuple[int, int]] = []

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        runs.append((context.id, context.lease))

    ids = table.add("plain", count=5000)
    worker = work()
    for done in (500, 1500, 2500, 3500):
        wait_until(lambda at=done: table.count("state = 'succeeded'") >= at, 30)  # type: ignore[misc]
        # It may still be about to connect anew.
        wait_until(lambda: terminate_backends(table) > 0)
    table.wait(ids, "succeeded", timeout=60)
    assert len(set(runs)) == len(runs), "an attempt ran twice"
    assert table.count("attempt <> 1") == 0
    assert worker.seen(events.DatabaseLost)


def test_a_lost_listen_connection_listens_again(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "PROBE_EVERY", 60.0)

    @app.task(name="plain")
    def plain() -> None: ...

    worker = work(poll_interval=60)
    listening = (
        "select pid from pg_stat_activity where application_name = 'pgqueue:listen' "
        "and datname = current_database()"
    )
    before = wait_until(lambda: table.connection.execute(listening).fetchall())
    assert terminate_backends(table, "listen") == 1
    wait_until(lambda: table.connection.execute(listening).fetchall() not in ([], before))
    wait_until(lambda: table.connection.execute("select from pgqueue.sleepers").fetchall())
    table.wait(table.add_one("plain"), "succeeded", timeout=5)
    # Said, and the next loss is again the first.
    assert [event.part for event in worker.seen(events.DatabaseBack)] == ["listen"]


def test_a_reply_that_is_lost_leaves_no_job_behind(
    app: PgQueue, table: Table, work: Work, dsn: str
) -> None:
    """Connections are cut at any moment: claims and finishes whose reply is lost are settled."""
    runs: list[tuple[int, int]] = []

    @app.task(name="plain")
    async def plain(context: JobContext) -> None:
        runs.append((context.id, context.lease))

    with Proxy(dsn) as proxy:
        ids = table.add("plain", count=4000)
        worker = work(dsn=proxy.dsn, listen=False)
        for done in range(200, 3600, 200):
            wait_until(lambda at=done: table.count("state = 'succeeded'") >= at, 30)  # type: ignore[misc]
            proxy.cut_all()
        table.wait(ids, "succeeded", timeout=60)
        worker.stop()
    assert len(set(runs)) == len(runs)
    assert table.count("attempt <> 1") == 0


def test_connections_that_fall_silent_are_given_up(
    app: PgQueue, table: Table, work: Work, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a balancer that has lost its server: new connections would be answered."""
    monkeypatch.setattr(connections, "PATIENCE", 0.1)

    @app.task(name="plain")
    def plain() -> None: ...

    with Proxy(dsn) as proxy:
        worker = work(dsn=proxy.dsn, statement_timeout=1.0)
        table.wait(table.add_one("plain"), "succeeded")
        proxy.deafen()
        beats = "select 1 from pgqueue.workers where heartbeat_at > %s"
        row = table.connection.execute("select clock_timestamp() + interval '1 second'").fetchone()
        table.wait(table.add_one("plain"), "succeeded")
        wait_until(lambda: table.connection.execute(beats, row).fetchall(), what="a heartbeat")
        assert worker.stop() == 0


REFUSING = """
    create function pgqueue.refuse() returns trigger language plpgsql as $$
    begin
        if new.task = 'poison' and new.state <> 'running' and {refused} then
            raise exception 'never at %', clock_timestamp() using errcode = '{code}';
        end if;
        return new;
    end $$;
    create trigger refuse before update on pgqueue.jobs
        for each row execute function pgqueue.refuse()
"""
"""What a user may have done to the table. No two messages of it are alike."""


@pytest.mark.parametrize("code", ["P0001", "23514"])
def test_an_outcome_that_a_trigger_refuses_is_a_dead_job(
    app: PgQueue, table: Table, work: Work, code: str
) -> None:
    app.task(name="poison")(_plain)
    app.task(name="plain")(_plain)
    refusing = REFUSING.format(refused="new.state = 'succeeded'", code=code)
    table.connection.execute(refusing.encode())
    poison = table.add("poison", count=2)
    ids = table.add("plain", count=50)
    work()
    table.wait(ids, "succeeded")
    table.wait(poison, "dead")
    assert "PostgreSQL refused the outcome: never at" in table.attempts(poison[0])[0]["message"]


def test_an_outcome_that_is_refused_in_every_form_holds_up_no_other(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "PUT_OFF", 0.5)
    app.task(name="poison")(_plain)
    app.task(name="plain")(_plain)
    table.connection.execute(REFUSING.format(refused="true", code="P0001").encode())
    poison = table.add("poison", count=2)
    ids = table.add("plain", count=50)
    worker = work()
    table.wait(ids, "succeeded")
    table.wait(table.add("plain", count=50), "succeeded")
    assert {table.state(id_) for id_ in poison} == {"running"}
    wait_until(lambda: worker.seen(events.DatabaseLost), what="told")
    table.connection.execute("drop trigger refuse on pgqueue.jobs")
    table.wait(poison, "dead")


def _plain() -> None: ...


def test_a_claim_that_nobody_knows_of_is_given_back(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    worker = work()
    row = table.connection.execute(
        "insert into pgqueue.jobs (task, state, lease, attempt, worker_id, started_at) "
        "values ('plain', 'running', 1, 1, %s, clock_timestamp()) returning id",
        [worker.worker.worker_id],
    ).fetchone()
    assert row is not None
    table.wait(row[0], "succeeded", timeout=15)
    assert table.row(row[0])["attempt"] == 1


def test_a_worker_that_stops_while_a_claim_is_lost_gives_its_jobs_back(
    app: PgQueue, table: Table, work: Work, dsn: str
) -> None:
    """Nothing is held and nothing owed, as far as it knows; the table knows better."""

    @app.task(name="plain")
    async def plain() -> None: ...

    table.add("plain", count=60_000)
    with Proxy(dsn) as proxy:
        # The first claim on the connection for claims: jobs come fast by then, and are not over.
        proxy.marker, proxy.role = b"pgqueue_claim", b"pgqueue:claims"
        proxy.released.clear()
        proxy.cut = "after"
        worker = work(dsn=proxy.dsn)
        wait_until(lambda: proxy.cut is None, timeout=30)
        worker.worker.stop()
        # It may wait for that very claim, and so learn of the stop after the loss.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: worker.seen(events.WorkerStopping), timeout=2)
        proxy.released.set()
        assert worker.stop() == 0
    assert worker.seen(events.DatabaseLost)
    assert table.count("state = 'running'") == 0
    assert table.count("state = 'ready' and lease = 2 and attempt = 0") > 0
    assert table.count("state = 'succeeded' and attempt <> 1") == 0


def test_a_lost_lease_ends_the_handler_and_its_outcome_is_dropped(
    app: PgQueue, table: Table, work: Work
) -> None:
    started, ended = threading.Event(), threading.Event()

    @app.task(name="waits")
    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    id_ = table.add_one("waits")
    worker = work()
    assert started.wait(10)
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [id_]
    )
    assert ended.wait(10)
    wait_until(lambda: worker.seen(events.LeaseGone))
    assert table.state(id_) == "cancelled"
    assert table.row(id_)["lease"] == 2


def test_a_worker_that_was_declared_dead_drops_its_jobs_and_ends(
    app: PgQueue, table: Table, work: Work
) -> None:
    started, ended = threading.Event(), threading.Event()

    @app.task(name="waits")
    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    table.add_one("waits")
    worker = work()
    assert started.wait(10)
    table.connection.execute("delete from pgqueue.workers")
    worker.thread.join(15)
    assert worker.code == 75
    assert ended.is_set()
    assert worker.seen(events.WorkerFenced)


def test_jobs_of_a_worker_that_fell_silent_are_rescued_by_another(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    row = table.connection.execute(
        "with gone as (insert into pgqueue.workers "
        "(name, hostname, pid, version, queues, concurrency, threads, ttl, heartbeat_at) "
        "values ('gone', 'far', 1, '0', '{default}', 1, 1, '5 s', now() - interval '1 min') "
        "returning id) "
        "insert into pgqueue.jobs (task, state, lease, attempt, worker_id, started_at) "
        "select 'plain', 'running', 1, 1, id, now() from gone returning id"
    ).fetchone()
    assert row is not None
    worker = work(ttl=1.5, heartbeat=0.1)
    table.wait(row[0], "succeeded", timeout=20)
    [attempt] = table.attempts(row[0])
    assert (attempt["outcome"], attempt["worker"]) == ("rescued", "gone")
    assert worker.seen(events.JobsRescued)[0].name == "gone"


def test_a_server_restart_under_a_running_worker(
    app: PgQueue, own_server: EmbeddedServer, own_dsn: str, work: Work
) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    with psycopg.connect(own_dsn, autocommit=True) as connection:
        ids = Table(connection).add("plain", count=3000)
        worker = work(dsn=own_dsn, ttl=60)
        wait_until(lambda: Table(connection).count("state = 'succeeded'") >= 100, 30)
    own_server.restart("immediate")
    with psycopg.connect(own_dsn, autocommit=True) as connection:
        table = Table(connection)
        table.wait(ids, "succeeded", timeout=60)
        later = table.add_one("plain")
        table.wait(later, "succeeded")
        assert table.count("attempt <> 1") == 0
        worker.stop()
