"""kill -9 in a transactional handler, right before its COMMIT and right after: one effect each."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until
from tests.worker.processes import Supervised, wait_for_workers
from tests.worker.proxy import Proxy
from tests.worker.transacting import EFFECTS, KINDS, task_name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.table import Table

APP = "tests.worker.transactional_jobs:app"


def check(table: Table, ids: list[int]) -> None:
    """Every job has succeeded, with one effect and one child."""
    table.wait(ids, "succeeded", timeout=30)
    effects = table.connection.execute("select job_id from effects order by 1").fetchall()
    assert [id_ for (id_,) in effects] == ids
    assert table.count("task = 'child'") == len(ids)


def kill(table: Table) -> None:
    [pid] = wait_for_workers(table).values()
    os.kill(pid, signal.SIGKILL)


def test_killed_in_the_handler(
    dsn: str, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    table.connection.execute(EFFECTS)
    flags = [tmp_path / task_name(kind) for kind in KINDS]
    ids = [table.add_one(flag.name, args={"flag": str(flag)}) for flag in flags]
    with Supervised(dsn, app=APP):
        wait_until(lambda: all(flag.exists() for flag in flags), 20, "all are in their handlers")
        kill(table)
        check(table, ids)
    assert all(table.outcomes(id_) == ["rescued"] for id_ in ids)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_killed_around_the_commit(
    dsn: str, table: Table, monkeypatch: pytest.MonkeyPatch, cut: Any
) -> None:
    """All COMMITs are held, before the server has them or with its answer; then the kill."""
    table.connection.execute(EFFECTS)
    with Proxy(dsn) as proxy:
        monkeypatch.setenv("PGQUEUE_DATABASE_URL", proxy.dsn)
        proxy.role, proxy.hold = b"pgqueue:handler", cut
        proxy.released.clear()
        ids = [table.add_one(task_name(kind)) for kind in KINDS]
        with Supervised(proxy.dsn, app=APP):
            wait_until(lambda: proxy.held == len(ids), 20, "all COMMITs are held")
            done = table.count("state = 'succeeded' and task <> 'child'")
            kill(table)
            proxy.hold = None
            proxy.released.set()
            check(table, ids)
    assert done == (len(ids) if cut == "after" else 0)
    expected = [] if cut == "after" else ["rescued"]
    assert all(table.outcomes(id_) == expected for id_ in ids)
