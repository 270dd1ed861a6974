"""A cell: a worker that runs suspects alone, one at a time, and ends when there are none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pgqueue.context import JobContext
from pgqueue.telemetry.events import Events
from pgqueue.worker import worker as engine
from pgqueue.worker.board import Board
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until
from tests.worker.conftest import QUICK

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from tests.worker.table import Table


def test_a_cell_runs_suspects_alone_leaves_all_else_and_ends_by_itself(
    app: PgQueue, dsn: str, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LINGER", 0.2)
    release, running = threading.Event(), set[int]()
    most = 0

    @app.task(name="counts")
    def counts(context: JobContext) -> None:
        nonlocal most
        running.add(context.id)
        most = max(most, len(running))
        release.wait(20)
        running.discard(context.id)

    suspects = table.add("counts", count=3)
    table.connection.execute("update pgqueue.jobs set suspect = true")
    plain = table.add_one("counts", priority=9)
    board = Board(QUICK.concurrency + QUICK.threads)
    cell = Worker(
        app,
        dsn=dsn,
        settings=QUICK,
        queues=["default"],
        emit=Events(lambda _: None),
        board=board,
        cell=True,
    )
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cell.run()))
    thread.start()
    wait_until(lambda: running, what="a suspect runs")
    assert table.count("state = 'ready' and suspect") == 2
    [(named, name)] = table.connection.execute("select suspect_id, name from pgqueue.workers")
    assert {named} == running
    assert name.endswith("/cell")
    release.set()
    table.wait(suspects, "succeeded")
    thread.join(10)
    assert codes == [0]
    assert most == 1
    assert table.state(plain) == "ready"
