"""Limits hold for a whole session where it is ours alone, and for each transaction elsewhere."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import conninfo

from pgqueue import connections, migrate_transaction, session, store
from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.outcome import Succeeded
from pgqueue.session import Own
from pgqueue.telemetry.events import Events
from pgqueue.wire import Statement, Wire
from pgqueue.worker.link import Link
from tests import servers
from tests.pooler import Pooler
from tests.store.tables import Tables, exchange
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pgqueue.connections import Connection
    from pgqueue.embedded import EmbeddedServer

IMPATIENT = Settings(statement_timeout=0.15, lock_timeout=0.1)
STRANGER = {"statement_timeout": "0", "lock_timeout": "0", "enable_seqscan": "on"}
"""Of what is held, as everybody else has it."""
WAYS = ["TCP", "Unix socket"] if sys.platform == "linux" else ["TCP"]
"""On others it cannot be known whose a Unix socket is; there each transaction has its limits."""
LONG = Statement("long", b"select pg_sleep(30)", [])


@pytest.fixture(scope="module")
def started() -> Iterator[EmbeddedServer]:
    """A server that can be reached both ways."""
    with servers.started_server(tcp=True) as server:
        yield server


@pytest.fixture(scope="module")
def copies(started: EmbeddedServer) -> servers.Databases:
    return servers.Databases(started)


@pytest.fixture(params=WAYS)
def direct(
    request: pytest.FixtureRequest, started: EmbeddedServer, copies: servers.Databases
) -> str:
    """A database with the schema and nothing between, as libpq reads it."""
    dsn = started.dsn(copies.create(copies.template))
    if request.param == "TCP":
        return dsn
    with psycopg.connect(dsn) as connection:
        [folder] = connection.execute("show unix_socket_directories").fetchone() or ()
    return conninfo.make_conninfo(dsn, host=folder.strip('"'))


POOLERS = {
    "with a server's key, on a Unix socket": partial(Pooler, size=1),
    "with a server's key, over TCP": partial(Pooler, size=1, tcp=True),
    "with keys of its own, on a Unix socket": partial(Pooler, invents=True),
    "with keys of its own, over TCP": partial(Pooler, tcp=True, invents=True),
}


@pytest.fixture(params=POOLERS)
def pooler(request: pytest.FixtureRequest, own_dsn: str) -> Iterator[Pooler]:
    with POOLERS[request.param](own_dsn) as running:
        yield running


def opened(dsn: str, settings: Settings = IMPATIENT) -> Own:
    """A connection as a worker has it."""
    connection = connections.connect(dsn, settings, "test", hold=store.held_limits(settings))
    assert isinstance(connection, Own)
    return connection


def shown(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    rows = [connection.execute(f"show {name}".encode()).fetchone() or ("",) for name in names]
    return {name: row[0] for name, row in zip(names, rows, strict=True)}


@contextmanager
def listening_in(connection: Connection, path: Path) -> Iterator[list[bytes]]:
    """What is sent on a connection meanwhile, in the one item of the list, at the end."""
    heard: list[bytes] = []
    with path.open("wb") as file:
        connection.pgconn.trace(file.fileno())
        yield heard
        connection.pgconn.untrace()
    heard.append(path.read_bytes())


@pytest.mark.parametrize("holds", [True, False])
def test_nothing_that_a_worker_asks_is_compiled(own_dsn: str, *, holds: bool) -> None:
    """It would take 0.4 s for a statement of 1 ms; servers without LLVM never do."""
    with psycopg.connect(own_dsn, autocommit=True) as admin:
        admin.execute("alter role current_user set jit_above_cost = 0")
    explain = b"explain (analyze, format json) select count(*) from pgqueue.steps"
    try:
        with closing(opened(own_dsn)) as own:
            if not holds:
                own.execute("reset all")
            with own.transaction():
                if not holds:
                    store.execute(own, "limits", store.limits(IMPATIENT))
                [(plan,)] = own.execute(explain)
    finally:
        with psycopg.connect(own_dsn, autocommit=True) as admin:
            admin.execute("alter role current_user reset jit_above_cost")
    assert "JIT" not in plan[0]


def test_what_is_held_is_what_a_transaction_would_set(direct: str) -> None:
    settings = Settings()
    wanted = store.held_limits(settings)
    with closing(opened(direct, settings)) as own, psycopg.connect(direct) as other:
        assert own.held == wanted
        store.execute(other, "limits", store.limits(settings))
        assert shown(own, wanted) == shown(other, wanted)
        other.rollback()
        assert shown(own, STRANGER) != STRANGER == shown(other, STRANGER)


def test_where_limits_are_held_no_transaction_sets_them(direct: str, tmp_path: Path) -> None:
    with closing(opened(direct)) as own, psycopg.connect(direct, autocommit=True) as plain:
        tables = Tables(plain)
        worker, done = tables.worker(), tables.job("running", worker_id=1)
        waiting = tables.job()
        with listening_in(own, tmp_path / "held") as heard:
            reply = exchange(
                own, worker, succeeded=[Succeeded(done, 1, None)], room=1, settings=IMPATIENT
            )
            store.run(own, IMPATIENT, "reconcile", {"worker_id": worker})
        assert (reply.recorded, [job.id for job in reply.claimed]) == ([done], [waiting])
        assert b"pgqueue.jobs" in heard[0]
        assert b"set_config" not in heard[0]
        other = Settings(statement_timeout=0.4)
        with listening_in(own, tmp_path / "other") as heard:
            store.run(own, other, "reconcile", {"worker_id": worker})
        assert b"set_config" in heard[0]


def test_an_enqueue_without_a_connection_sets_no_limits_where_they_are_held(
    direct: str, tmp_path: Path
) -> None:
    with PgQueue(direct, settings=Settings(pool_size=1)) as app:
        task = app.task(name="work")(lambda: None)
        with app.producer(None).own.transaction() as connection:
            assert shown(connection, ["idle_in_transaction_session_timeout"]) == {
                "idle_in_transaction_session_timeout": "10s"
            }
        with listening_in(connection, tmp_path / "sent") as heard:
            task.enqueue()
        assert b"pgqueue.enqueue" in heard[0]
        assert b"set_config" not in heard[0]


def wait_on_the_wire(own: Connection) -> None:
    wire = Wire(own, 20.0)
    wire.wait(wire.start([LONG]))


def finish_slowly(own: Connection) -> None:
    tables = Tables(own)
    job_id = tables.job("running", worker_id=1)
    tables.run(
        "create function slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(30); return new; end $$"
    )
    tables.run("create trigger slow before update on pgqueue.jobs execute function slow()")
    exchange(own, 1, succeeded=[Succeeded(job_id, 1, None)], settings=IMPATIENT)


def run_slowly(own: Connection) -> None:
    tables = Tables(own)
    tables.run(
        "create function slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(30); return null; end $$"
    )
    tables.run("create trigger slow before update on pgqueue.workers execute function slow()")
    store.run(own, IMPATIENT, "heartbeat", {"ids": [tables.worker()]})


def finish_waiting(connection: Connection, settings: Settings, job_id: int) -> None:
    done = [Succeeded(job_id, 1, None)]
    wire = Wire(connection, 20.0)
    store.send(wire, settings, worker_id=1, worker="w", succeeded=done, careful=False).receive()


SLOW = [wait_on_the_wire, finish_slowly, run_slowly]


@pytest.mark.parametrize("slow", SLOW)
def test_what_runs_too_long_is_cancelled(direct: str, slow: Callable[[Connection], None]) -> None:
    with closing(opened(direct)) as own:
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            slow(own)
        assert own.execute("select 1").fetchone() == (1,)


def test_a_new_connection_of_a_link_has_its_limits_too(direct: str) -> None:
    link = Link("test", direct, IMPATIENT, Events())
    first = link.connection()
    with psycopg.connect(direct, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [first.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        first.execute("select 1")
    with closing(link.connection()) as second:
        assert second is not first
        with pytest.raises(psycopg.errors.QueryCanceled):
            wait_on_the_wire(second)


def test_behind_a_pooler_each_transaction_has_its_limits(pooler: Pooler, own_dsn: str) -> None:
    settings = Settings(lock_timeout=0.05, prepare=False)
    with (
        closing(opened(pooler.dsn, settings)) as own,
        closing(opened(pooler.dsn, settings)) as second,
        psycopg.connect(own_dsn, autocommit=True) as direct,
        psycopg.connect(own_dsn) as rival,
    ):
        assert (own.held, second.held) == (None, None)
        tables = Tables(direct)
        job_id = tables.job("running", worker_id=1)
        tables.lock(rival, job_id)
        values = {"id": job_id, "lease": 1, "result": None}
        for connection in (own, second, own):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                store.run(connection, settings, "finish_transactional", values)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                finish_waiting(connection, settings, job_id)


def test_a_pooler_lends_nothing_of_ours_to_strangers(pooler: Pooler) -> None:
    settings = Settings(prepare=False)
    hold = connections.bounds(settings)
    for _ in range(3):  # one for each connection of the pooler, and one more
        with closing(opened(pooler.dsn, settings)) as own:
            exchange(own, 1, room=1, settings=settings)
        client = connections.connect(pooler.dsn, settings, "client", hold=hold)
        with closing(client), connections.limited(client, settings):
            assert shown(client, ["lock_timeout"]) == {"lock_timeout": "2s"}
    with psycopg.connect(pooler.dsn, autocommit=True, prepare_threshold=None) as stranger:
        for _ in range(3):
            assert shown(stranger, STRANGER) == STRANGER


def test_another_process_of_the_server_is_not_taken_for_ours(direct: str) -> None:
    with closing(opened(direct)) as own:
        pid, end = own.info.backend_pid, session._end(own)
        values = {"names": ["lock_timeout"], "values": ["1s"]}
        for other in ({"pid": pid + 1, "end": end}, {"pid": pid, "end": None}):
            assert own.execute(session._HOLD, values | other).rowcount == 0
        assert own.execute(session._HOLD, values | {"pid": pid, "end": end}).rowcount == 1


def test_a_connection_that_does_not_answer_is_given_up(
    direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    link = Link("worker", direct, Settings(statement_timeout=0.1), Events(lambda _: None))
    with closing(link):
        first = link.connection()
        first.execute("set statement_timeout = 0")
        with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.2 s"):
            first.execute("select pg_sleep(60)")
        assert link.connection() is not first


def test_a_migration_may_take_its_time(direct: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", -60.0)
    with migrate_transaction.connect(direct) as connection:
        assert connection.execute("select 1 from pg_sleep(0.2)").fetchall() == [(1,)]


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_times_are_read_however_the_role_wants_them_shown(direct: str, style: str) -> None:
    styled = f"-c datestyle={style.replace(' ', '')} -c intervalstyle=sql_standard"
    dsn = conninfo.make_conninfo(direct, options=styled)
    asked = "select timestamptz '2026-01-02 03:04:05Z', interval '1 day 2 hours'"
    wanted = (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), timedelta(days=1, hours=2))
    for autocommit in (True, False):
        with connections.connect(dsn, Settings(), "client", autocommit=autocommit) as connection:
            assert connection.execute(asked).fetchone() == wanted
            connection.rollback()
            assert connection.execute(asked).fetchone() == wanted


def test_a_connection_of_ours_may_be_idle(direct: str) -> None:
    dsn = conninfo.make_conninfo(direct, options="-c idle_session_timeout=100")
    asked = (
        "select state_change < clock_timestamp() - interval '0.3 s' from pg_stat_activity "
        "where datname = current_database() and application_name = 'pgqueue:client'"
    )
    with PgQueue(dsn) as app, psycopg.connect(direct, autocommit=True) as other:

        @app.task(name="plain")
        def plain() -> None: ...

        plain.enqueue()
        wait_until(lambda: other.execute(asked).fetchall() == [(True,)], what="it sat idle")


def test_every_letter_comes_through_whatever_the_encoding_of_the_role(direct: str) -> None:
    dsn = conninfo.make_conninfo(direct, options="-c client_encoding=latin1")
    with connections.connect(dsn, Settings(), "client") as connection:
        assert connection.execute("select 'nö €'").fetchone() == ("nö €",)
