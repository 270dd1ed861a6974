"""Handlers in child processes: what they see, how they end, and what their end does to others."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.errors import ConfigError
from pgqueue.telemetry import events
from pgqueue.worker.messages import Source
from tests.waiting import wait_until
from tests.worker import child_jobs
from tests.worker.processes import ROOT, Supervised, alive, pids, wait_for_workers
from tests.worker.test_control import request_cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

SPEC = "tests.worker.child_jobs:app"
SOURCE = Source(SPEC, str(ROOT))


@pytest.fixture
def app() -> PgQueue:
    return child_jobs.app


@pytest.fixture
def work(work: Work) -> Work:
    """As elsewhere, with two children and little patience."""
    return partial(work, source=SOURCE, children=2, cancel_grace=0.3)


def result(table: Table, id_: int) -> dict[str, Any]:
    found: dict[str, Any] = table.row(id_)["result"]
    return found


def wait_for_flag(flag: Path) -> str:
    wait_until(flag.exists, what=f"{flag.name} was started")
    return str(flag)


def test_a_handler_runs_on_the_main_thread_of_a_process_that_is_kept(
    table: Table, work: Work
) -> None:
    ids = [table.add_one("tells", args={"word": word}, meta={"a": 1}) for word in ("one", "two")]
    work(children=1)
    table.wait(ids, "succeeded")
    one, two = (result(table, id_) for id_ in ids)
    assert one["pid"] == two["pid"] != os.getpid()
    assert one | {"pid": 0} == {
        "word": "one",
        "pid": 0,
        "parent": os.getpid(),
        "main": True,
        "same": True,
        "meta": {"a": 1},
        "stdin": "",
    }


def test_children_start_only_when_they_are_needed_and_no_more_than_allowed(
    table: Table, work: Work, tmp_path: Path
) -> None:
    worker = work()
    table.wait(table.add("here", count=3), "succeeded")
    assert children_of(os.getpid()) == set()
    flags = [tmp_path / str(number) for number in range(3)]
    ids = [table.add_one("sleeps", args={"flag": str(flag)}) for flag in flags]
    for flag in flags[:2]:
        wait_for_flag(flag)
    assert len(children_of(os.getpid())) == 2
    assert not flags[2].exists()
    for id_, flag in zip(ids, [*flags[2:], *flags[:2]], strict=True):
        request_cancel(table, id_)
        wait_for_flag(flag)
    table.wait(ids, "cancelled")
    worker.stop()
    assert children_of(os.getpid()) == set()


def children_of(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    return {each for each in found if b"pgqueue.worker.child" in command(each)}


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.parametrize(
    ("how", "state", "outcomes", "error"),
    [
        ("raise", "ready", ["retried"], "ValueError"),
        ("exit", "ready", ["retried"], "SystemExit"),
        ("snooze", "ready", [], None),
        ("return", "dead", ["dead"], "InvalidPayload"),
    ],
)
def test_a_handler_ends_as_it_would_in_a_thread(
    table: Table, work: Work, how: str, state: str, outcomes: list[str], error: str | None
) -> None:
    id_ = table.add_one("fails", args={"how": how})
    work()
    wait_until(lambda: table.row(id_)["lease"] == 2, what="the outcome is recorded")
    assert (table.state(id_), table.outcomes(id_)) == (state, outcomes)
    if error is not None:
        [attempt] = table.attempts(id_)
        assert attempt["error_type"] == error
        assert (attempt["traceback"] is None) == (how == "retry")
        assert "plain.py" not in attempt["traceback"]


@pytest.mark.parametrize(
    ("how", "says"),
    [("segfault", "SIGSEGV"), ("exit", "exit code 3")],
)
def test_a_job_that_kills_its_process_is_blamed_alone_and_dead_at_the_cap(
    table: Table, work: Work, tmp_path: Path, how: str, says: str
) -> None:
    beside = table.add_one("sleeps", args={"flag": str(tmp_path / "flag")})
    worker = work(crash_cap=2)
    wait_for_flag(tmp_path / "flag")
    poison = table.add_one("dies", args={"how": how}, max_attempts=1)
    healthy = table.add("noop", count=20, priority=-1)
    table.wait(healthy, "succeeded")
    wait_until(lambda: table.outcomes(poison) == ["retried"], what="the first crash")
    row = table.row(poison)
    assert (row["state"], row["attempt"], row["worker_id"]) == ("ready", 0, None)
    assert row["run_at"] > row["started_at"]
    table.make_due(poison)
    table.wait(poison, "dead")
    assert table.row(poison)["crash_count"] == 2
    assert table.outcomes(poison) == ["retried", "dead"]
    assert {attempt["error_type"] for attempt in table.attempts(poison)} == {"crashed"}
    assert says in table.attempts(poison)[0]["message"]
    assert table.count("crash_count > 0 or suspect") == 1
    assert (table.state(beside), table.row(beside)["lease"]) == ("running", 1)
    wait_until(lambda: len(worker.seen(events.JobFailed)) == 2)
    request_cancel(table, beside)
    table.wait(beside, "cancelled")


def test_a_handler_that_runs_too_long_is_ended_and_can_tidy_up(
    table: Table, work: Work, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    id_ = table.add_one("sleeps", args={"flag": str(flag)}, timeout=0.3)
    work(cancel_grace=30.0)
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    [attempt] = table.attempts(id_)
    assert (attempt["error_type"], attempt["message"]) == ("JobTimeout", "ran longer than 0.3 s")
    assert flag.read_text() == "tidied up"
    assert table.row(id_)["crash_count"] == 0


def test_a_handler_that_ignores_signals_is_killed_with_all_that_it_started(
    table: Table, work: Work, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    id_ = table.add_one("ignores", args={"flag": str(flag)}, timeout=0.3)
    work()
    wait_until(lambda: table.outcomes(id_) == ["retried"])
    assert table.attempts(id_)[0]["error_type"] == "JobTimeout"
    processes = [int(pid) for pid in flag.read_text().split()]
    wait_until(lambda: not any(map(alive, processes)), what="both processes are gone")
    table.wait(table.add("noop", count=5), "succeeded")


def test_cancel_ends_a_running_handler(table: Table, work: Work, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    id_ = table.add_one("sleeps", args={"flag": str(flag)})
    work(cancel_grace=30.0)
    wait_for_flag(flag)
    request_cancel(table, id_)
    table.wait(id_, "cancelled")
    assert table.outcomes(id_) == ["cancelled"]
    assert flag.read_text() == "tidied up"


def test_a_stop_that_takes_too_long_ends_handlers_and_gives_their_jobs_back(
    table: Table, work: Work, tmp_path: Path
) -> None:
    flags = [tmp_path / "sleeps", tmp_path / "ignores"]
    ids = [table.add_one(flag.name, args={"flag": str(flag)}) for flag in flags]
    worker = work(shutdown_timeout=0.1)
    for flag in flags:
        wait_for_flag(flag)
    assert worker.stop() == 1
    assert [table.outcomes(id_) for id_ in ids] == [["interrupted"], ["interrupted"]]
    assert [(table.state(id_), table.row(id_)["attempt"]) for id_ in ids] == [("ready", 0)] * 2
    assert children_of(os.getpid()) == set()


def test_a_signal_that_the_worker_did_not_send_ends_no_handler(
    table: Table, work: Work, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    id_ = table.add_one("sleeps", args={"flag": str(flag)})
    work(cancel_grace=30.0)
    wait_for_flag(flag)
    [child] = children_of(os.getpid())
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGINT)
    request_cancel(table, id_)
    table.wait(id_, "cancelled")
    assert [attempt["message"] for attempt in table.attempts(id_)] == ["cancel was requested"]


def test_a_handler_above_its_memory_limit_is_killed_and_says_so(table: Table, work: Work) -> None:
    small = table.add_one("grows", args={"mib": 1})
    large = table.add_one("grows", args={"mib": 300})
    work()
    table.wait(small, "succeeded")
    wait_until(lambda: table.outcomes(large) == ["retried"])
    [attempt] = table.attempts(large)
    assert attempt["error_type"] == "MemoryExceeded"
    assert "max_rss is 150 MiB" in attempt["message"]
    assert attempt["traceback"] is None
    assert table.row(large)["attempt"] == 1
    assert table.row(large)["crash_count"] == 0


def test_a_fork_of_a_child_has_no_say_in_its_job(table: Table, work: Work, tmp_path: Path) -> None:
    id_ = table.add_one("forks", args={"flag": str(tmp_path / "code")})
    work()
    table.wait(id_, "succeeded")
    assert table.row(id_)["result"] == "said by the child"
    assert (tmp_path / "code").read_text() == "1"


def test_a_child_that_has_grown_is_replaced_after_its_job(table: Table, work: Work) -> None:
    work(children=1, max_rss=150)
    found = []
    for _ in range(2):
        id_ = table.add_one("leaks", args={"mib": 200})
        table.wait(id_, "succeeded")
        found.append(table.row(id_)["result"])
    assert found[0] != found[1]


def test_a_transactional_handler_commits_with_its_finish_or_not_at_all(
    table: Table, work: Work, tmp_path: Path
) -> None:
    table.connection.execute("create table effects (job_id bigint)")
    done = table.add("effect", count=10)
    killed = table.add_one("effect", args={"then": "die"}, meta={"flag": str(tmp_path / "flag")})
    work()
    table.wait(done, "succeeded")
    wait_until(lambda: table.outcomes(killed) == ["retried"])
    table.make_due(killed)
    table.wait(killed, "succeeded")
    effects = table.connection.execute("select job_id from effects order by job_id").fetchall()
    assert effects == [(id_,) for id_ in sorted([*done, killed])]


def test_a_query_that_runs_too_long_is_cancelled_on_the_server(table: Table, work: Work) -> None:
    table.connection.execute("create table effects (job_id bigint)")
    id_ = table.add_one("effect", args={"then": "query"}, timeout=0.3, max_attempts=1)
    work(cancel_grace=30.0)
    table.wait(id_, "dead")
    assert table.attempts(id_)[0]["error_type"] == "JobTimeout"
    assert table.connection.execute("select from effects").fetchall() == []
    busy = "select from pg_stat_activity where query like '%pg_sleep%' and state = 'active'"
    wait_until(lambda: len(table.connection.execute(busy).fetchall()) == 1, what="only this query")


def test_children_that_cannot_start_give_their_jobs_back_and_stop_nothing_else(
    table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGQUEUE_TEST_CHILD_CANNOT_START", "yes")
    id_ = table.add_one("noop")
    worker = work()
    wait_until(lambda: table.row(id_)["lease"] == 2, what="given back")
    row = table.row(id_)
    assert (row["state"], row["attempt"]) == ("ready", 0)
    assert row["run_at"] > row["started_at"]
    assert table.attempts(id_) == []
    table.wait(table.add("here", count=20), "succeeded")
    assert worker.seen(events.ChildFailed)
    wait_until(lambda: worker.seen(events.JobsHeldBack))


def test_a_worker_that_cannot_load_the_app_in_a_child_says_so(table: Table, work: Work) -> None:
    with pytest.raises(ConfigError, match="tells has executor='process'"):
        work(source=None)
    assert pids(table) == {}


def test_children_log_as_their_worker_does_and_end_with_it(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    options = ("--children", "1", "--log-format", "json")
    with Supervised(dsn, *options, app=SPEC) as supervised:
        said = table.add_one("logs", priority=1)
        table.wait(said, "succeeded")
        [line] = [each for each in supervised.output().splitlines() if "said in a child" in each]
        assert json.loads(line)["job_id"] == said
        id_ = table.add_one("ignores", args={"flag": str(flag)})
        wait_until(lambda: flag.exists() and flag.read_text())
        [pid] = wait_for_workers(table).values()
        os.kill(pid, signal.SIGKILL)
        processes = [int(each) for each in flag.read_text().split()]
        wait_until(lambda: not any(map(alive, processes)), what="the child and what it started")
        wait_until(lambda: table.outcomes(id_) == ["rescued"])
    assert table.row(id_)["crash_count"] == 0
    row = table.connection.execute("select children from pgqueue.workers").fetchone()
    assert row in (None, (1,))


def test_arguments_and_results_larger_than_a_pipe_pass_whole(table: Table, work: Work) -> None:
    text = "\u00e4\n" * 200_000
    ids = [table.add_one("echoes", args={"text": text}) for _ in range(3)]
    work()
    table.wait(ids, "succeeded")
    assert all(table.row(id_)["result"] == text for id_ in ids)


def test_effects_survive_kills_of_children_exactly_once(table: Table, work: Work) -> None:
    table.connection.execute("create table effects (job_id bigint)")
    ids = table.add("effect", count=300)
    worker = work(crash_cap=1000)
    for kills in range(1, 4):
        done = f"(select count(*) from pgqueue.jobs where state = 'succeeded') > {kills * 80}"
        wait_until(partial(table.count, f"id = {ids[0]} and {done}"), 30)
        os.kill(wait_until(lambda: next(iter(children_of(os.getpid())), 0)), signal.SIGKILL)
    # Those that were killed are due a second later, each time.
    table.wait(ids, "succeeded", timeout=30)
    counts = "select count(*), count(distinct job_id) from effects"
    assert table.connection.execute(counts).fetchone() == (300, 300)
    assert table.count("suspect") == 0
    assert worker.stop() == 0


def test_progress_is_seen_while_the_handler_runs(table: Table, work: Work, tmp_path: Path) -> None:
    def said() -> list[Any]:
        query = "select done, total, message from pgqueue.progress where job_id = %s"
        return table.connection.execute(query, [id_]).fetchall()

    id_ = table.add_one("reports", args={"flag": str(tmp_path / "flag")})
    work()
    wait_until(lambda: said() == [(3, 10, "under way")])
    assert table.state(id_) == "running"
    (tmp_path / "flag").touch()
    table.wait(id_, "succeeded")
    wait_until(lambda: said() == [(10, 10, "done")])
