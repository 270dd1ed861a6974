"""Workers that have done enough: they are replaced at once, and lose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgqueue.config import Settings
from pgqueue.errors import ConfigError
from pgqueue.telemetry.events import Events
from pgqueue.worker.retirement import Retirement
from pgqueue.worker.stuck import Stuck
from tests.waiting import wait_until
from tests.worker.processes import Supervised, pids, wait_for_workers
from tests.worker.test_supervisor import started, wait_started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.table import Table

NOTHING_STUCK = Stuck(Events())


def test_a_worker_retires_after_so_many_jobs_and_none_is_lost(dsn: str, table: Table) -> None:
    ids = table.add("noop", count=5000)
    with Supervised(dsn, "--max-jobs", "3000", "--concurrency", "20") as supervised:
        table.wait(ids, "succeeded", timeout=60)
        query = "select count(*) from pgqueue.jobs group by worker_id order by min(id)"
        first, *_ = [count for (count,) in table.connection.execute(query)]
        assert 2700 <= first < 5000
        supervised.terminate()
        assert supervised.wait() == 0
        assert "retires: it has run" in supervised.output()
        assert "died" not in supervised.output()
    assert table.count("attempt <> 1 or crash_count <> 0") == 0
    assert table.connection.execute("select count(*) from pgqueue.attempts").fetchone() == (0,)
    assert pids(table) == {}


def test_a_retiring_worker_is_replaced_before_its_handlers_are_done(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    [waiting] = started(table, tmp_path, "blocks_until")
    options = ("--max-jobs", "20", "--shutdown-timeout", "0.1", "--concurrency", "4")
    with Supervised(dsn, *options) as supervised:
        wait_started(tmp_path, 1)
        [old] = wait_for_workers(table)
        table.wait(table.add("noop", count=20), "succeeded")
        wait_until(lambda: len(pids(table)) == 2, 20, "a second worker, beside the first")
        late = table.add_one("noop")
        table.wait(late, "succeeded")
        assert table.row(late)["worker_id"] != old
        (tmp_path / "0.go").touch()
        table.wait(waiting, "succeeded")
        assert table.row(waiting)["worker_id"] == old
        wait_for_workers(table, other_than=frozenset({old}))
        supervised.terminate()
        assert supervised.wait() == 0
    assert table.attempts(waiting) == []


def test_a_worker_retires_when_too_many_threads_are_stuck(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    # Of its four threads.
    flags = [str(tmp_path / str(number)) for number in range(2)]
    ids = [table.add_one("blocks", args={"flag": flag}, timeout=0.2) for flag in flags]
    with Supervised(dsn, app="tests.worker.jobs:impatient") as supervised:
        wait_started(tmp_path, 2)
        [old] = wait_for_workers(table)
        wait_until(lambda: all(table.outcomes(id_) == ["retried"] for id_ in ids), 20)
        wait_for_workers(table, other_than=frozenset({old}))
        assert "retires: 2 handlers are stuck" in supervised.output()
        supervised.terminate()
        supervised.wait()
    assert {table.attempts(id_)[0]["error_type"] for id_ in ids} == {"JobTimeout"}
    assert table.count("crash_count <> 0 or suspect") == 0


def test_a_worker_retires_when_it_has_grown(dsn: str, table: Table) -> None:
    with Supervised(dsn, "--max-rss", "220") as supervised:
        [old] = wait_for_workers(table)
        id_ = table.add_one("leaks", args={"mib": 200})
        table.wait(id_, "succeeded")
        wait_for_workers(table, other_than=frozenset({old}))
        assert "MiB of memory (max_rss)" in supervised.output()


def test_a_limit_below_what_a_worker_needs_is_refused(dsn: str) -> None:
    with Supervised(dsn, "--max-rss", "5") as supervised:
        assert supervised.wait() == 2
        assert "max_rss=5 is too small" in supervised.output()


def test_workers_that_start_together_do_not_retire_together() -> None:
    settings = Settings(max_jobs=1000)
    retirements = [Retirement(settings, NOTHING_STUCK) for _ in range(50)]
    at_950 = [each.reason(lambda: 950, 0.0) for each in retirements]
    assert None in at_950
    assert any(at_950)
    assert not any(each.reason(lambda: 899, 0.0) for each in retirements)
    assert all(each.reason(lambda: 1000, 0.0) for each in retirements)


def test_without_limits_nothing_retires() -> None:
    assert Retirement(Settings(), NOTHING_STUCK).reason(lambda: 10**9, 0.0) is None


def test_a_process_above_its_limit_says_what_it_has() -> None:
    with pytest.raises(ConfigError, match=r"has \d+ MiB before its first job"):
        Retirement(Settings(max_rss=1), NOTHING_STUCK)
