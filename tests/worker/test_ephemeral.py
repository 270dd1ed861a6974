"""Ephemeral tasks: a success leaves nothing behind, everything else stays, nothing runs twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.context import JobContext
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from tests.waiting import wait_until
from tests.worker.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

KINDS = pytest.mark.parametrize("kind", ["plain", "coroutine"])


@pytest.fixture
def ran(app: PgQueue, connection: psycopg.Connection) -> list[tuple[int, int]]:
    """Ephemeral tasks of both kinds, and transactional ones; (id, lease) of each that ran."""
    connection.execute("create table effects (job_id bigint)")
    runs: list[tuple[int, int]] = []

    def note(context: JobContext, fail: int) -> Any:
        runs.append((context.id, context.lease))
        if context.attempt <= fail:
            raise ValueError("again")
        return object()  # kept nowhere, so that it need not be JSON

    @app.task(name="plain", ephemeral=True, retry=fixed(0.01))
    def plain(context: JobContext, fail: int = 0) -> Any:
        return note(context, fail)

    @app.task(name="coroutine", ephemeral=True, retry=fixed(0.01))
    async def coroutine(context: JobContext, fail: int = 0) -> Any:
        return note(context, fail)

    @app.task(name="plain_effect", ephemeral=True, transactional=True, retry=fixed(0.01))
    def plain_effect(context: JobContext, fail: int = 0) -> Any:
        context.connection.execute("insert into effects values (%s)", [context.id])
        return note(context, fail)

    @app.task(name="coroutine_effect", ephemeral=True, transactional=True, retry=fixed(0.01))
    async def coroutine_effect(context: JobContext, fail: int = 0) -> Any:
        await context.aconnection.execute("insert into effects values (%s)", [context.id])
        return note(context, fail)

    @app.task(name="kept")
    def kept() -> str:
        return "kept"

    return runs


def wait_gone(table: Table, *ids: int) -> None:
    wait_until(lambda: table.count("id = any (%s)", list(ids)) == 0, 30, f"{ids[:5]} are gone")


@KINDS
@pytest.mark.parametrize("effect", ["", "_effect"])
def test_a_success_leaves_nothing_and_a_failure_everything(
    table: Table, work: Work, ran: list[tuple[int, int]], kind: str, effect: str
) -> None:
    name = kind + effect
    done = table.add_one(name, key="k")
    retried = table.add_one(name, args={"fail": 1})
    dead = table.add_one(name, args={"fail": 9}, max_attempts=2)
    worker = work()
    wait_gone(table, done, retried)
    table.wait(dead, "dead")
    assert table.outcomes(dead) == ["retried", "dead"]
    assert table.attempts(retried) == []
    assert table.connection.execute("select from pgqueue.idempotency_keys").fetchall() == []
    assert sorted(id_ for id_, _ in ran) == [done, retried, retried, dead, dead]
    written = table.connection.execute("select job_id from effects order by 1").fetchall()
    assert written == ([(done,), (retried,)] if effect else [])
    worker.stop()
    assert worker.seen(events.LeaseGone) == []


def test_both_kinds_are_recorded_side_by_side(
    table: Table, work: Work, ran: list[tuple[int, int]]
) -> None:
    ids = table.add("coroutine", count=1500)
    kept = table.add("kept", count=300)
    work()
    wait_gone(table, *ids)
    table.wait(kept, "succeeded")
    assert len(ran) == len(set(ran)) == 1500


@pytest.mark.parametrize("cut", ["before", "after"])
@KINDS
@pytest.mark.parametrize("effect", ["", "_effect"])
def test_a_finish_without_an_answer_is_looked_up_and_nothing_happens_twice(
    table: Table,
    work: Work,
    dsn: str,
    ran: list[tuple[int, int]],
    kind: str,
    cut: Any,
    effect: str,
) -> None:
    with Proxy(dsn) as proxy:
        # The connection of a `def` handler begins with "... READ COMMITTED".
        proxy.marker = b"COMMIT\x00" if effect else b"finish_ephemeral"
        proxy.role = b"pgqueue:handler" if effect else b"pgqueue:"
        proxy.cut = cut
        worker = work(dsn=proxy.dsn, listen=False)
        id_ = table.add_one(kind + effect)
        wait_gone(table, id_)
        assert proxy.cut is None
        worker.stop()
    assert worker.seen(events.LeaseGone) == []
    # A COMMIT that never arrived is a failed attempt; any other outcome is sent again.
    assert len(ran) == (2 if effect and cut == "before" else 1)
    written = table.connection.execute("select job_id from effects").fetchall()
    assert written == ([(id_,)] if effect else [])


def test_a_rescued_job_that_another_worker_finished_is_told_as_lost(
    app: PgQueue, table: Table, work: Work, ran: list[tuple[int, int]]
) -> None:
    """The row is gone, and no answer of ours was lost: so it was not us."""
    started, go_on = threading.Event(), threading.Event()

    @app.task(name="waits", ephemeral=True)
    def waits() -> None:
        started.set()
        assert go_on.wait(20)

    id_ = table.add_one("waits")
    worker = work()
    assert started.wait(10)
    table.connection.execute("delete from pgqueue.jobs where id = %s", [id_])
    go_on.set()
    wait_until(lambda: worker.seen(events.LeaseGone))
    assert ran == []
