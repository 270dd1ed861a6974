"""Transactional tasks: the handler's writes and the finish are one commit, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgqueue import connections, store
from pgqueue.context import JobContext
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from tests.waiting import wait_until
from tests.worker.conftest import QUICK
from tests.worker.proxy import Proxy
from tests.worker.transacting import (
    EFFECTS,
    KINDS,
    Gate,
    give_sessions,
    register,
    task_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.config import Settings
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

SOON = fixed(0.01)
EACH = pytest.mark.parametrize("kind", KINDS)
SOME = pytest.mark.parametrize("kind", ["plain", "coroutine", "session pg8000", "asession asyncpg"])


class Database:
    """Where the sessions of the app's tasks lead."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn


@pytest.fixture
def database(dsn: str) -> Database:
    return Database(dsn)


@pytest.fixture
def gate(app: PgQueue, connection: psycopg.Connection, database: Database, kind: str) -> Gate:
    """A task of this kind that writes to `effects` and enqueues a child, then waits at the gate."""
    connection.execute(EFFECTS)
    give_sessions(app, KINDS[kind].driver, lambda: database.dsn)
    gate = Gate()
    register(app, kind, gate)
    return gate


def rescue(running: Running) -> dict[str, Any]:
    """The parameters of rescue.sql, for a worker that was seen to die."""
    return {
        "worker_id": running.worker.worker_id,
        "worker": "zombie",
        "started": None,
        "culprit": None,
        "intended": False,
        "crash_cap": 3,
    }


def effects(table: Table) -> list[tuple[int, int]]:
    query = "select job_id, attempt from effects order by 1, 2"
    return table.connection.execute(query).fetchall()


@EACH
def test_writes_and_outcome_commit_together(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    id_ = table.add_one(task_name(kind), args={"result": [1]})
    work()
    assert gate.reached.wait(10)
    assert effects(table) == []
    gate.opened.set()
    table.wait(id_, "succeeded")
    assert effects(table) == [(id_, 1)]
    assert table.row(id_)["result"] == [1]
    assert table.count("task = 'child'") == 1


@SOME
def test_no_lock_is_held_while_the_handler_runs(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    id_ = table.add_one(task_name(kind))
    work()
    assert gate.reached.wait(10)
    table.connection.execute("select from pgqueue.jobs where id = %s for update nowait", [id_])
    gate.opened.set()
    table.wait(id_, "succeeded")


@SOME
def test_a_failed_attempt_leaves_no_write(table: Table, work: Work, gate: Gate, kind: str) -> None:
    gate.opened.set()
    id_ = table.add_one(task_name(kind), args={"fail_first": True})
    work()
    table.wait(id_, "succeeded")
    assert effects(table) == [(id_, 2)]
    assert table.outcomes(id_) == ["retried"]
    assert table.count("task = 'child'") == 1


@SOME
def test_a_result_that_cannot_be_stored_rolls_back(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    gate.opened.set()
    id_ = table.add_one(task_name(kind), args={"result": "bad"})
    work()
    table.wait(id_, "dead")
    assert effects(table) == []


@SOME
def test_a_lost_lease_rolls_everything_back(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    """While the handler runs somebody takes the job: its writes must not survive."""
    id_ = table.add_one(task_name(kind))
    worker = work()
    assert gate.reached.wait(10)
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [id_]
    )
    gate.opened.set()
    wait_until(lambda: worker.seen(events.LeaseGone), what="the loss is told")
    assert effects(table) == []
    assert table.state(id_) == "cancelled"
    assert table.count("task = 'child'") == 0


@EACH
def test_a_zombie_that_commits_after_a_rescue_leaves_nothing(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    """Its job is rescued and done by another attempt; then its handler returns, and finishes."""
    gate.waits_again = False
    id_ = table.add_one(task_name(kind))
    zombie = work()
    assert gate.reached.wait(10)
    [(rescued, *_)] = store.run(table.connection, QUICK, "rescue", rescue(zombie))
    assert rescued == id_
    table.wait(id_, "succeeded")
    [done] = table.connection.execute("select lease from effects").fetchall()
    assert table.row(id_)["lease"] == done[0] + 1
    gate.opened.set()
    wait_until(lambda: zombie.seen(events.LeaseGone), what="the loss is told")
    assert table.connection.execute("select lease from effects").fetchall() == [done]
    assert table.count("task = 'child'") == 1


@EACH
@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_without_an_answer_is_read_from_the_table(
    table: Table, work: Work, gate: Gate, database: Database, dsn: str, kind: str, cut: Any
) -> None:
    """Cut before the server has the COMMIT: run again. Cut after: done, and not done again."""
    with Proxy(dsn) as proxy:
        proxy.role, database.dsn = b"pgqueue:handler", proxy.dsn
        id_ = table.add_one(task_name(kind))
        worker = work(dsn=proxy.dsn, listen=False)
        assert gate.reached.wait(10)
        proxy.cut = cut
        gate.opened.set()
        table.wait(id_, "succeeded")
        assert proxy.cut is None
        expected = (id_, 2) if cut == "before" else (id_, 1)
        assert effects(table) == [expected]
        assert table.outcomes(id_) == (["retried"] if cut == "before" else [])
        assert table.count("task = 'child'") == 1
        worker.stop()


def test_the_connection_is_only_where_it_was_asked_for(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="not_transactional")
    def not_transactional(context: JobContext) -> None:
        context.connection.execute("select 1")

    @app.task(name="wrong_kind", transactional=True)
    async def wrong_kind(context: JobContext) -> None:
        context.connection.execute("select 1")

    ids = [table.add_one(name, max_attempts=1) for name in ("not_transactional", "wrong_kind")]
    work()
    table.wait(ids, "dead")
    messages = [table.attempts(id_)[0]["message"] for id_ in ids]
    assert "transactional=True" in messages[0]
    assert "aconnection" in messages[1]


@SOME
def test_no_connection_for_the_transaction_costs_no_attempt(
    table: Table,
    work: Work,
    gate: Gate,
    database: Database,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The handler's connections are refused, the worker's own are not."""
    gate.opened.set()
    parameters = connections.parameters

    def refuse_handlers(dsn: str, settings: Settings, role: str) -> dict[str, Any]:
        given = parameters(dsn, settings, role)
        return given | {"port": 1} if role == "handler" else given

    monkeypatch.setattr(connections, "parameters", refuse_handlers)
    database.dsn = make_conninfo(database.dsn, port=1)
    id_ = table.add_one(task_name(kind), max_attempts=1)
    work(connect_timeout=1.0)
    wait_until(lambda: table.outcomes(id_))
    assert table.outcomes(id_)[0] == "interrupted"
    assert table.state(id_) == "ready"
    assert effects(table) == []
