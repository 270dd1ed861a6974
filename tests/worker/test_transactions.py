"""Transactional tasks: the handler's writes and the finish are one commit, or neither."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import connections
from pgqueue.context import JobContext
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from tests.waiting import wait_until
from tests.worker.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from pgqueue.config import Settings
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

SOON = fixed(0.01)
KINDS = pytest.mark.parametrize("kind", ["plain", "coroutine"])


class Gate:
    """Holds a handler in its middle: its write is done, its finish is not."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()


@pytest.fixture
def gate(app: PgQueue, connection: psycopg.Connection) -> Gate:
    """Two tasks that write the job's id to `effects`, then wait at the gate."""
    connection.execute("create table effects (job_id bigint, attempt integer)")
    gate = Gate()
    write = "insert into effects values (%s, %s)"

    @app.task(name="plain", transactional=True, retry=SOON)
    def plain(context: JobContext, *, fail_first: bool = False, result: Any = None) -> Any:
        context.connection.execute(write, [context.id, context.attempt])
        gate.reached.set()
        assert gate.opened.wait(20)
        if fail_first and context.attempt == 1:
            raise ValueError("first")
        return {1} if result == "bad" else result

    @app.task(name="coroutine", transactional=True, retry=SOON)
    async def coroutine(
        context: JobContext, *, fail_first: bool = False, result: Any = None
    ) -> Any:
        await context.aconnection.execute(write, [context.id, context.attempt])
        gate.reached.set()
        assert gate.opened.wait(20)
        if fail_first and context.attempt == 1:
            raise ValueError("first")
        return {1} if result == "bad" else result

    return gate


def effects(table: Table) -> list[tuple[int, int]]:
    query = "select job_id, attempt from effects order by 1, 2"
    return table.connection.execute(query).fetchall()


@KINDS
def test_writes_and_outcome_commit_together(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    id_ = table.add_one(kind, args={"result": [1]})
    work()
    assert gate.reached.wait(10)
    assert effects(table) == []
    gate.opened.set()
    table.wait(id_, "succeeded")
    assert effects(table) == [(id_, 1)]
    assert table.row(id_)["result"] == [1]


@KINDS
def test_no_lock_is_held_while_the_handler_runs(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    id_ = table.add_one(kind)
    work()
    assert gate.reached.wait(10)
    table.connection.execute("select from pgqueue.jobs where id = %s for update nowait", [id_])
    gate.opened.set()
    table.wait(id_, "succeeded")


@KINDS
def test_a_failed_attempt_leaves_no_write(table: Table, work: Work, gate: Gate, kind: str) -> None:
    gate.opened.set()
    id_ = table.add_one(kind, args={"fail_first": True})
    work()
    table.wait(id_, "succeeded")
    assert effects(table) == [(id_, 2)]
    assert table.outcomes(id_) == ["retried"]


@KINDS
def test_a_result_that_cannot_be_stored_rolls_back(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    gate.opened.set()
    id_ = table.add_one(kind, args={"result": "bad"})
    work()
    table.wait(id_, "dead")
    assert effects(table) == []


@KINDS
def test_a_lost_lease_rolls_everything_back(
    table: Table, work: Work, gate: Gate, kind: str
) -> None:
    """While the handler runs somebody takes the job: its writes must not survive."""
    id_ = table.add_one(kind)
    worker = work()
    assert gate.reached.wait(10)
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [id_]
    )
    gate.opened.set()
    wait_until(lambda: worker.seen(events.LeaseGone), what="the loss is told")
    assert effects(table) == []
    assert table.state(id_) == "cancelled"


@KINDS
@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_without_an_answer_is_read_from_the_table(
    table: Table, work: Work, gate: Gate, dsn: str, kind: str, cut: Any
) -> None:
    """Cut before the server has the COMMIT: run again. Cut after: done, and not done again."""
    with Proxy(dsn) as proxy:
        proxy.role = b"pgqueue:handler"
        id_ = table.add_one(kind)
        worker = work(dsn=proxy.dsn, listen=False)
        assert gate.reached.wait(10)
        proxy.cut = cut
        gate.opened.set()
        table.wait(id_, "succeeded")
        assert proxy.cut is None
        expected = (id_, 2) if cut == "before" else (id_, 1)
        assert effects(table) == [expected]
        assert table.outcomes(id_) == (["retried"] if cut == "before" else [])
        worker.stop()


@KINDS
def test_a_handler_cannot_commit_half_of_it(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    table.connection.execute("create table effects (job_id bigint, attempt integer)")

    @app.task(name="plain", transactional=True)
    def plain(context: JobContext) -> None:
        context.connection.execute("insert into effects values (1, 1)")
        context.connection.commit()

    @app.task(name="coroutine", transactional=True)
    async def coroutine(context: JobContext) -> None:
        await context.aconnection.execute("insert into effects values (1, 1)")
        await context.aconnection.commit()

    id_ = table.add_one(kind, max_attempts=1)
    work()
    table.wait(id_, "dead")
    assert table.attempts(id_)[0]["error_type"] == "psycopg.ProgrammingError"
    assert effects(table) == []


def test_jobs_enqueued_by_a_handler_share_its_fate(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="child")
    def child(attempt: int) -> None: ...

    @app.task(name="parent", transactional=True, retry=SOON)
    def parent(context: JobContext) -> None:
        child.using(context.connection).enqueue(attempt=context.attempt)
        if context.attempt == 1:
            raise ValueError("first")

    id_ = table.add_one("parent")
    work()
    table.wait(id_, "succeeded")
    wait_until(lambda: table.count("task = 'child' and state = 'succeeded'") == 1)
    assert table.count("task = 'child'") == 1


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


@KINDS
def test_no_connection_for_the_transaction_costs_no_attempt(
    table: Table, work: Work, gate: Gate, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's connections are refused, the worker's own are not."""
    gate.opened.set()
    parameters = connections.parameters

    def refuse_handlers(dsn: str, settings: Settings, role: str) -> dict[str, Any]:
        given = parameters(dsn, settings, role)
        return given | {"port": 1} if role == "handler" else given

    monkeypatch.setattr(connections, "parameters", refuse_handlers)
    id_ = table.add_one(kind, max_attempts=1)
    work(connect_timeout=1.0)
    wait_until(lambda: table.outcomes(id_))
    assert table.outcomes(id_)[0] == "interrupted"
    assert table.state(id_) == "ready"
    assert effects(table) == []
