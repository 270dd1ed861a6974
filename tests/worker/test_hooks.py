"""Hooks are told what was recorded, once, on a thread of their own, and harm nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import JobContext
from pgqueue.errors import Cancel, ConfigError, Dead, Retry, Snooze
from pgqueue.hooks import JobEvent, WorkerEvent
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from pgqueue.telemetry.fields import JobFields
from pgqueue.worker import hooks
from tests.waiting import wait_until
from tests.worker.conftest import Running
from tests.worker.processes import Supervised
from tests.worker.test_control import request_cancel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgqueue.app import PgQueue
    from tests.worker.table import Table

    Work = Callable[..., Running]

MOMENTS = ("start", "success", "retry", "dead", "cancelled", "expired")
SOON = fixed(0.01)


class Heard(list[JobEvent]):
    """A hook that notes what it is told, and on which thread."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def __call__(self, event: JobEvent) -> None:
        self.append(event)
        self.threads.add(threading.current_thread().name)

    def moments(self, id_: int) -> list[str]:
        return [event.moment for event in self if event.id == id_]


def listen(target: Any, *moments: str) -> Heard:
    heard = Heard()
    for moment in moments or MOMENTS:
        getattr(target, f"on_{moment}")(heard)
    return heard


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_handler_that_fails_when_it_is_cancelled_is_told_as_cancelled(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    """Neither hooks nor the log hear of a retry that never comes."""

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        wait_until(lambda: context.cancelled, what="told to end")
        raise InterruptedError

    @app.task(name="coroutine")
    async def coroutine() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise InterruptedError

    heard = listen(app)
    id_ = table.add_one(kind)
    running = work()
    table.wait(id_, "running")
    wait_until(lambda: heard.moments(id_) == ["start"], what="started")
    request_cancel(table, id_)
    table.wait(id_, "cancelled")
    wait_until(lambda: len(heard.moments(id_)) > 1, what="told")
    assert heard.moments(id_) == ["start", "cancelled"]
    assert not [each for each in running.seen(events.JobFailed) if each.job_id == id_]


@pytest.mark.parametrize("say", ["fail", "snooze"])
def test_a_cancel_that_only_the_table_knows_of_is_told_as_one(
    app: PgQueue, table: Table, work: Work, say: str
) -> None:
    """It came while the handler was about to fail: neither hooks nor the log hear of a retry."""

    @app.task(name="t")
    def ends(context: JobContext) -> None:
        request_cancel(table, context.id)
        raise ValueError if say == "fail" else Snooze(60)

    heard = listen(app)
    id_ = table.add_one("t")
    running = work(listen=False)
    wait_until(lambda: len(heard.moments(id_)) > 1, what="told")
    running.stop()
    assert table.state(id_) == "cancelled"
    assert heard.moments(id_) == ["start", "cancelled"]
    assert not running.seen(events.JobFailed)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_each_moment_of_a_job_is_told_once_after_it_was_recorded(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    def act(context: JobContext, say: str) -> str | None:
        if say == "snooze" and context.lease == 1:
            raise Snooze(0.01)
        if say == "retry" and context.attempt == 1:
            raise ValueError("once more")
        if say == "dead":
            raise Dead("no hope")
        if say == "cancel":
            raise Cancel("not wanted")
        return say

    @app.task(name="plain", retry=SOON)
    def plain(context: JobContext, say: str) -> str | None:
        return act(context, say)

    @app.task(name="coroutine", retry=SOON)
    async def coroutine(context: JobContext, say: str) -> str | None:
        return act(context, say)

    heard = listen(app)
    words = ("succeed", "snooze", "retry", "dead", "cancel")
    ids = {say: table.add_one(kind, args={"say": say}, meta={"by": "me"}) for say in words}
    running = work()
    table.wait_final(ids.values())
    running.stop()
    assert {say: heard.moments(id_) for say, id_ in ids.items()} == {
        "succeed": ["start", "success"],
        "snooze": ["start", "start", "success"],
        "retry": ["start", "retry", "start", "success"],
        "dead": ["start", "dead"],
        "cancel": ["start", "cancelled"],
    }
    assert heard.threads == {"pgqueue-hooks"}
    told = {(event.id, event.moment): event for event in heard}
    names = (kind, "default")
    assert told[ids["retry"], "retry"] == JobEvent(
        "retry", ids["retry"], *names, 1, 8, {"say": "retry"}, {"by": "me"}, None,
        "ValueError", "once more", 0.01,
    )  # fmt: skip
    assert told[ids["dead"], "dead"].message == "no hope"
    assert told[ids["succeed"], "success"].result == "succeed"


def test_a_tasks_hooks_hear_of_its_own_jobs_only(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="one")
    def one() -> None:
        """Do nothing."""

    @app.task(name="other")
    async def other() -> None:
        """Do nothing."""

    of_one, of_app = listen(one), listen(app, "success")
    first, second = table.add_one("one"), table.add_one("other")
    running = work()
    table.wait([first, second], "succeeded")
    running.stop()
    assert of_one.moments(first) == ["start", "success"]
    assert of_one.moments(second) == []
    assert [of_app.moments(id_) for id_ in (first, second)] == [["success"], ["success"]]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_transactional_task_tells_of_its_success_after_the_commit(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    @app.task(name="plain", transactional=True)
    def plain() -> str:
        return "done"

    @app.task(name="coroutine", transactional=True)
    async def coroutine() -> str:
        return "done"

    states: list[str] = []
    app.on_success(lambda event: states.append(table.state(event.id)))
    id_ = table.add_one(kind)
    running = work()
    wait_until(lambda: states)
    running.stop()
    assert states == ["succeeded"]
    assert table.state(id_) == "succeeded"


def test_an_outcome_of_a_lost_lease_is_not_told(app: PgQueue, table: Table, work: Work) -> None:
    begin, go = threading.Event(), threading.Event()

    @app.task(name="slow")
    def slow() -> None:
        begin.set()
        go.wait(10)

    heard = listen(app, "success", "retry", "dead", "cancelled")
    id_ = table.add_one("slow")
    running = work()
    assert begin.wait(10)
    query = "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s"
    table.connection.execute(query, [id_])
    go.set()
    wait_until(lambda: running.seen(events.LeaseGone))
    running.stop()
    assert heard == []


def test_async_hooks_are_run_and_one_that_raises_harms_neither_the_job_nor_the_next(
    app: PgQueue, table: Table, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="noop")
    def noop() -> None:
        """Do nothing."""

    heard: list[int] = []

    @app.on_success
    def broken(event: JobEvent) -> None:
        raise SystemExit(f"of {event.id}")

    @app.on_success
    async def after(event: JobEvent) -> None:
        await asyncio.sleep(0)
        record = logging.makeLogRecord({})
        JobFields().filter(record)
        heard.append(record.__dict__["job_id"])
        assert (record.__dict__["task"], event.id) == ("noop", heard[-1])

    ids = table.add("noop", count=3)
    running = work()
    table.wait(ids, "succeeded")
    assert running.stop() == 0
    assert sorted(heard) == ids
    failed = running.seen(events.HookFailed)
    assert sorted(event.job_id for event in failed) == ids
    assert failed[0].error == f"SystemExit: of {failed[0].job_id}"
    assert "broken (on_success)" in failed[0].hook
    assert isinstance(failed[0].exception, SystemExit)
    assert not caplog.records


def test_a_hook_that_hangs_holds_up_no_job_and_no_stop_and_what_it_cost_is_told(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_WAITING", 5)
    monkeypatch.setattr(hooks, "PATIENCE", 0.0)
    monkeypatch.setattr(hooks, "DRAIN", 0.05)
    release = threading.Event()

    @app.task(name="noop")
    async def noop() -> None:
        """Do nothing."""

    @app.on_success
    def hangs(_event: JobEvent) -> None:
        release.wait(60)

    ids = table.add("noop", count=50)
    running = work()
    table.wait(ids, "succeeded")
    wait_until(lambda: running.seen(events.HooksDropped))
    assert running.stop() == 0
    [slow] = running.seen(events.HookSlow)
    assert "hangs" in slow.hook
    # One is under way, five waited, and the end of the worker is a call that waited as well.
    dropped = sum(event.count for event in running.seen(events.HooksDropped))
    assert len(ids) - 1 <= dropped <= len(ids) + 1
    release.set()


def test_what_waits_for_a_hook_is_bounded_in_bytes_as_well(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_BYTES", 2000)
    release = threading.Event()

    @app.task(name="takes")
    async def takes(text: str) -> None:
        """Do nothing."""

    heard: list[str] = []

    @app.on_success
    def waits(event: JobEvent) -> None:
        release.wait(60)
        heard.append(event.args["text"])

    small = table.add_one("takes", args={"text": "first"})
    running = work()
    table.wait(small, "succeeded")
    large = table.add("takes", count=3, args={"text": "x" * 1500})
    table.wait(large, "succeeded")
    release.set()
    wait_until(lambda: len(heard) == 2)
    table.wait(table.add_one("takes", args={"text": "y" * 1500}), "succeeded")
    running.stop()
    assert heard == ["first", "x" * 1500, "y" * 1500]
    assert sum(event.count for event in running.seen(events.HooksDropped)) == 2


def test_an_async_hook_that_hangs_is_cancelled(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "PATIENCE", 0.01)

    @app.task(name="noop")
    async def noop() -> None:
        """Do nothing."""

    @app.on_success
    async def hangs(_event: JobEvent) -> None:
        await asyncio.Event().wait()

    table.add("noop", count=2)
    running = work()
    wait_until(lambda: len(running.seen(events.HookFailed)) == 2)
    assert {event.error for event in running.seen(events.HookFailed)} == {"TimeoutError"}


def test_a_worker_starts_with_its_hooks_before_the_first_job_and_ends_with_them(
    app: PgQueue, table: Table, work: Work
) -> None:
    order: list[Any] = []

    @app.task(name="noop")
    def noop() -> None:
        order.append("job")

    app.on_worker_start(order.append)
    app.on_success(lambda _: order.append("success"))

    @app.on_worker_stop
    async def stopped(event: WorkerEvent) -> None:
        order.append(event)

    id_ = table.add_one("noop")
    running = work(queues=["default", "mail"])
    table.wait(id_, "succeeded")
    running.stop()
    [started, job, success, ended] = order
    assert (job, success) == ("job", "success")
    assert (started.moment, ended.moment) == ("worker_start", "worker_stop")
    assert started.id == ended.id == running.worker.worker_id
    assert started.queues == ("default", "mail")
    assert str(started.name).rpartition(":")[2].isdigit()


def test_a_worker_does_not_wait_for_ever_for_its_start_hooks(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "START", 0.01)
    monkeypatch.setattr(hooks, "DRAIN", 0.01)
    release = threading.Event()

    @app.task(name="noop")
    def noop() -> None:
        """Do nothing."""

    app.on_worker_start(lambda _: release.wait(60))
    id_ = table.add_one("noop")
    running = work()
    table.wait(id_, "succeeded")
    assert running.seen(events.HookSlow)
    running.stop()
    release.set()


def test_jobs_that_expired_are_told_whoever_found_them(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="noop")
    def noop() -> None:
        """Do nothing."""

    heard = listen(noop, "expired")
    claimed = table.add_one("noop", expires_at="2990-01-01T00:00:00Z")
    swept = table.add_one("noop", queue="elsewhere", expires_at="2990-01-01T00:00:00Z")
    table.connection.execute("update pgqueue.jobs set expires_at = now()")
    work()
    wait_until(lambda: len(heard) == 2)
    assert sorted(event.id for event in heard) == [claimed, swept]
    assert {(event.moment, event.attempt) for event in heard} == {("expired", 0)}


def test_jobs_that_a_rescue_found_dead_are_read_from_the_table(
    app: PgQueue, table: Table, work: Work
) -> None:
    heard = listen(app, "dead")
    ids = [table.add_one("unknown", args={"n": n}, run_at="2990-01-01T00:00:00Z") for n in (1, 2)]
    dead = "update pgqueue.jobs set state = 'dead', lease = 2, finished_at = now() where id = %s"
    table.connection.execute(dead, [ids[0]])
    table.connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message) "
        "values (%s, 1, 3, 'dead', 'crashed', 'its worker process died')",
        [ids[0]],
    )
    running = work()
    runner = wait_until(lambda: running.worker.hooks)
    assert runner is not None
    # As a rescue step of this process emits it; the second job is not dead after all.
    runner.heard(events.JobsRescued(9, None, 2, tuple(ids)))
    wait_until(lambda: heard)
    running.stop()
    [event] = heard
    assert (event.id, event.task, event.attempt, event.args) == (ids[0], "unknown", 3, {"n": 1})
    assert (event.error_type, event.message) == ("crashed", "its worker process died")


def test_hooks_do_not_see_what_is_redacted_or_what_is_pgqueues_own(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="secret", redact={"token"}, max_attempts=1)
    def secret(token: str, user: int) -> None:
        raise KeyError(user, len(token))

    heard = listen(app, "dead")
    job = secret.using(meta={"own": 1}).job(token="hush", user=7)
    by_python = table.add_one("secret", args=dict(job.args), meta=dict(job.meta), max_attempts=1)
    by_sql = table.add_one("secret", args={"token": "hush", "user": 7}, max_attempts=1)
    running = work()
    table.wait([by_python, by_sql], "dead")
    running.stop()
    told = {event.id: event for event in heard}
    assert told[by_python].args == told[by_sql].args == {"token": "***", "user": 7}
    assert told[by_python].meta == {"own": 1}


def test_without_hooks_there_is_no_thread_for_them(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="noop")
    def noop() -> None:
        """Do nothing."""

    id_ = table.add_one("noop")
    work()
    table.wait(id_, "succeeded")
    assert "pgqueue-hooks" not in {thread.name for thread in threading.enumerate()}


def test_a_hook_must_take_the_event(app: PgQueue) -> None:
    def nothing() -> None:
        """Take nothing."""

    for hook in (nothing, "text"):
        with pytest.raises(ConfigError, match=r"on_dead: .* cannot be called with one argument"):
            app.on_dead(hook)  # type: ignore[type-var]
    assert dict(app.hooks) == {}


def test_a_retry_that_a_handler_asks_for_is_a_retry(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="again")
    def again(context: JobContext) -> None:
        if context.attempt == 1:
            raise Retry("not yet", after=0.02)

    heard = listen(again, "retry")
    id_ = table.add_one("again")
    running = work()
    table.wait(id_, "succeeded")
    running.stop()
    [event] = heard
    assert (event.error_type, event.message, event.delay) == ("Retry", "not yet", 0.02)


def test_a_job_that_kills_its_process_is_told_by_a_worker_that_lives(
    dsn: str, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    id_ = table.add_one("kills")
    with Supervised(dsn, app="tests.worker.hooked:app") as supervised:
        table.wait(id_, "dead")
        wait_until(lambda: '"dead"' in notes.read_text())
        supervised.terminate()
        assert supervised.wait() == 0
    told = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [note["moment"] for note in told] == [
        "worker_start",
        "worker_start",
        "dead",
        "worker_stop",
    ]
    assert told[0]["pid"] != told[1]["pid"] == told[2]["pid"] == told[3]["pid"]
    assert (told[2]["id"], told[2]["attempt"]) == (id_, 1)
    assert told[2]["error_type"] == "crashed"
