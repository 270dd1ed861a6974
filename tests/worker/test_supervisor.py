"""Processes: crashes by kill -9, restarts, stops, exit codes."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.waiting import wait_until
from tests.worker.processes import PROGRAM, Supervised, alive, pids, wait_for_workers

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from tests.worker.table import Table


def test_jobs_of_a_killed_worker_run_again_elsewhere(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    flags = [str(tmp_path / str(number)) for number in range(3)]
    ids = [table.add_one("waits_once", args={"flag": flag}) for flag in flags]
    with Supervised(dsn) as supervised:
        table.wait(ids, "running")
        wait_until(lambda: all((tmp_path / str(number)).exists() for number in range(3)))
        [(worker_id, pid)] = wait_for_workers(table).items()
        os.kill(pid, signal.SIGKILL)
        table.wait(ids, "succeeded")
        wait_for_workers(table, other_than=frozenset({worker_id}))
        supervised.terminate()
        assert supervised.wait() == 0
        assert "SIGKILL" in supervised.output()
    for id_ in ids:
        [rescue] = table.attempts(id_)
        assert (rescue["outcome"], rescue["worker_id"]) == ("rescued", worker_id)
        assert table.row(id_)["attempt"] == 1
        assert table.row(id_)["crash_count"] == 0


def test_what_a_killed_worker_had_not_started_is_given_back_without_a_trace(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    blocking = started(table, tmp_path, *["blocks"] * 4)
    with Supervised(dsn):
        wait_started(tmp_path, 4)
        waiting = table.add("blocks", count=2, priority=-1)
        table.connection.execute("update pgqueue.jobs set suspect = true where priority = -1")
        [pid] = wait_for_workers(table).values()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(table.outcomes(id_) == ["rescued"] for id_ in blocking))
    assert all(table.attempts(id_) == [] for id_ in waiting)


def test_workers_and_their_children_end_with_the_supervisor(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    flag = tmp_path / "pid"
    table.add_one("spawns", args={"flag": str(flag)})
    with Supervised(dsn, "--processes", "2") as supervised:
        workers = wait_for_workers(table, 2)
        wait_until(lambda: flag.exists() and flag.read_text())
        supervised.process.kill()
        wait_until(lambda: not any(alive(pid) for pid in workers.values()), what="workers ended")


def test_what_a_handler_started_ends_with_its_worker(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    flag = tmp_path / "pid"
    id_ = table.add_one("spawns", args={"flag": str(flag)})
    with Supervised(dsn):
        wait_until(lambda: flag.exists() and flag.read_text())
        grandchild = int(flag.read_text())
        [pid] = wait_for_workers(table).values()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(grandchild), what="the grandchild ended")
        wait_until(lambda: table.outcomes(id_) == ["rescued"])


def test_a_worker_that_does_not_move_any_more_is_killed_and_replaced(
    dsn: str, table: Table
) -> None:
    impatient = "from pgqueue.worker import spawn; spawn.HOPELESS = 2.5; "
    with Supervised(dsn, program=impatient + PROGRAM) as supervised:
        [(worker_id, pid)] = wait_for_workers(table).items()
        table.wait(table.add_one("noop"), "succeeded")
        os.kill(pid, signal.SIGSTOP)
        wait_for_workers(table, other_than=frozenset({worker_id}))
        assert not alive(pid)
        assert "did not move any more" in supervised.output()
        supervised.terminate()
        assert supervised.wait() == 0


def test_a_clean_stop_has_exit_code_0_and_leaves_no_worker(dsn: str, table: Table) -> None:
    ids = table.add("noop", count=50)
    with Supervised(dsn, "--processes", "2") as supervised:
        table.wait(ids, "succeeded")
        wait_for_workers(table, 2)
        supervised.terminate()
        assert supervised.wait() == 0
    assert pids(table) == {}


def started(table: Table, folder: Path, *tasks: str) -> list[int]:
    """Add one job of each task; each leaves a flag in the folder when its handler starts."""
    return [
        table.add_one(task, args={"flag": str(folder / str(number))})
        for number, task in enumerate(tasks)
    ]


def wait_started(folder: Path, count: int) -> None:
    wait_until(lambda: len(list(folder.iterdir())) == count, 20, "the handlers started")


def test_handlers_cut_at_the_shutdown_timeout_give_exit_code_1(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    ids = started(table, tmp_path, "waits", "blocks")
    with Supervised(dsn, "--shutdown-timeout", "0.2") as supervised:
        wait_started(tmp_path, 2)
        supervised.terminate()
        assert supervised.wait() == 1
    assert [table.state(id_) for id_ in ids] == ["ready", "ready"]
    assert [table.outcomes(id_) for id_ in ids] == [["interrupted"], ["interrupted"]]
    assert [table.row(id_)["attempt"] for id_ in ids] == [0, 0]


def test_a_second_signal_ends_all_at_once_and_blames_nobody(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    [id_] = started(table, tmp_path, "blocks")
    with Supervised(dsn) as supervised:
        wait_started(tmp_path, 1)
        [pid] = wait_for_workers(table).values()
        supervised.terminate()
        wait_until(lambda: "claims nothing more" in supervised.output(), what="it is stopping")
        supervised.terminate()
        assert supervised.wait() == 130
        assert not alive(pid)
    row = table.row(id_)
    assert (row["state"], row["attempt"], row["suspect"], row["crash_count"]) == (
        "ready",
        0,
        False,
        0,
    )
    assert table.outcomes(id_) == ["interrupted"]


def test_two_processes_share_the_work(dsn: str, table: Table) -> None:
    with Supervised(dsn, "--processes", "2"):
        wait_for_workers(table, 2)
        ids = table.add("noop", count=20_000)
        table.wait(ids, "succeeded", timeout=60)
    workers = table.connection.execute("select distinct worker_id from pgqueue.jobs").fetchall()
    assert len(workers) == 2
    assert table.count("lease <> 2 or attempt <> 1") == 0


def test_a_handler_that_reads_standard_input_gets_nothing(dsn: str, table: Table) -> None:
    id_ = table.add_one("reads_stdin")
    with Supervised(dsn):
        table.wait(id_, "succeeded")
    assert table.row(id_)["result"] == ""


def test_transactional_effects_survive_kills_exactly_once(
    dsn: str, table: Table, connection: psycopg.Connection
) -> None:
    connection.execute("create table effects (job_id bigint)")
    with Supervised(dsn, "--processes", "2"):
        ids = table.add("effect", count=3000)
        for kills in range(1, 4):
            done = f"(select count(*) from pgqueue.jobs where state = 'succeeded') > {kills * 300}"
            wait_until(partial(table.count, f"id = {ids[0]} and {done}"), 30)
            # A worker that was killed before stands in the table until it is buried.
            os.kill(
                wait_until(lambda: next(filter(alive, pids(table).values()), 0), 20), signal.SIGKILL
            )
        table.wait(ids, "succeeded", timeout=60)
    twice = "select job_id from effects group by job_id having count(*) > 1"
    assert connection.execute(twice).fetchall() == []
    assert connection.execute("select count(*) from effects").fetchone() == (3000,)


@pytest.mark.parametrize(
    ("app", "code", "says"),
    [
        ("tests.worker.no_such_module:app", 2, "no_such_module"),
        ("tests.worker.jobs:nothing", 2, "nothing"),
        ("tests.worker.jobs:noop", 2, "noop"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_told_in_one_line(
    dsn: str, app: str, code: int, says: str
) -> None:
    with Supervised(dsn, app=app) as supervised:
        assert supervised.wait() == code
        assert says in supervised.output()
        assert "Traceback" not in supervised.output()


@pytest.mark.parametrize("listen_dsn", ["garbage x", "mysql://user@127.0.0.1/shop"])
def test_a_dsn_for_listen_that_cannot_be_read_is_told_before_the_first_job(
    dsn: str, table: Table, listen_dsn: str
) -> None:
    with Supervised(dsn, "--listen-dsn", listen_dsn) as supervised:
        assert supervised.wait() == 2
        [line] = supervised.output().splitlines()
        assert line.startswith("error: ")
    assert pids(table) == {}


def test_a_dsn_for_listen_may_be_written_as_for_sqlalchemy(dsn: str, table: Table) -> None:
    url = f"postgresql+psycopg://?{urlencode(conninfo_to_dict(dsn))}"
    with Supervised(dsn, "--listen-dsn", url) as supervised:
        wait_for_workers(table)
        query = "select 1 from pg_stat_activity where application_name = 'pgqueue:listen'"
        wait_until(lambda: table.connection.execute(query).fetchone(), what="it listens")
        supervised.terminate()
        assert supervised.wait() == 0


def test_a_schema_that_is_missing_is_exit_code_4_and_one_line_says_what_to_run(
    empty_dsn: str,
) -> None:
    with Supervised(empty_dsn) as supervised:
        assert supervised.wait() == 4
        [line] = supervised.output().splitlines()
        assert line.startswith("error: ")
        assert "pgqueue migrate" in line


def test_a_database_that_does_not_answer_is_exit_code_3_and_shows_no_password() -> None:
    dsn = "postgresql://me:sesame@127.0.0.1:1/none"
    with Supervised(dsn) as supervised:
        assert supervised.wait() == 3
        assert "127.0.0.1" in supervised.output()
        assert "sesame" not in supervised.output()
        assert "Traceback" not in supervised.output()
