"""How a job ends, for each thing that its handler can do."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import JobContext, current_job
from pgqueue.errors import Cancel, Dead, Retry, Snooze
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from pgqueue.worker.steps import look
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

SOON = fixed(0.01)


def test_both_kinds_of_handlers_succeed_with_their_results(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="plain")
    def plain(number: int) -> dict[str, int]:
        return {"twice": 2 * number}

    @app.task(name="coroutine")
    async def coroutine(number: int) -> list[int]:
        await asyncio.sleep(0)
        return [number]

    ids = [table.add_one(name, args={"number": 21}) for name in ("plain", "coroutine")]
    work()
    table.wait(ids, "succeeded")
    assert [table.row(id_)["result"] for id_ in ids] == [{"twice": 42}, [21]]
    assert [table.row(id_)["attempt"] for id_ in ids] == [1, 1]
    assert [table.attempts(id_) for id_ in ids] == [[], []]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_failing_job_is_retried_and_dead_after_its_last_attempt(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    @app.task(name="plain", retry=SOON)
    def plain() -> None:
        raise ValueError("no such photo")

    @app.task(name="coroutine", retry=SOON)
    async def coroutine() -> None:
        raise ValueError("no such photo")

    id_ = table.add_one(kind, max_attempts=3)
    worker = work()
    table.wait(id_, "dead")
    kept = table.attempts(id_)
    assert [attempt["outcome"] for attempt in kept] == ["retried", "retried", "dead"]
    assert [attempt["attempt"] for attempt in kept] == [1, 2, 3]
    assert {attempt["error_type"] for attempt in kept} == {"ValueError"}
    assert {attempt["message"] for attempt in kept} == {"no such photo"}
    assert "test_outcomes.py" in kept[0]["traceback"]
    assert kept[0]["worker"] == table.attempts(id_)[2]["worker"] is not None
    wait_until(lambda: len(worker.seen(events.JobFailed)) == 3)
    assert worker.seen(events.JobFailed)[2].delay is None


def test_a_traceback_shows_the_handler_and_not_our_own_calls(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="broken")
    def broken() -> None:
        raise KeyError("missing")

    id_ = table.add_one("broken", max_attempts=1)
    work()
    table.wait(id_, "dead")
    traceback = table.attempts(id_)[0]["traceback"]
    assert 'raise KeyError("missing")' in traceback
    assert "execution.py" not in traceback
    assert "threads.py" not in traceback


def test_words_of_control_flow(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="word", retry=fixed(3600))
    def word(context: JobContext, say: str) -> str:
        if say == "snooze" and "snoozed" not in seen:
            seen.append("snoozed")
            raise Snooze(0.01)
        if say == "retry" and context.attempt == 1:
            raise Retry("once more", after=0.01)
        if say == "dead":
            raise Dead("no hope")
        if say == "cancel":
            raise Cancel("not wanted")
        return f"attempt {context.attempt}"

    seen: list[str] = []
    ids = {say: table.add_one("word", args={"say": say}) for say in _WORDS}
    work()
    table.wait_final(ids.values())
    assert {say: table.state(id_) for say, id_ in ids.items()} == _WORDS
    assert table.row(ids["snooze"])["result"] == "attempt 1"
    assert table.outcomes(ids["snooze"]) == []
    assert table.row(ids["retry"])["result"] == "attempt 2"
    assert table.attempts(ids["retry"])[0]["message"] == "once more"
    assert table.attempts(ids["dead"])[0]["message"] == "no hope"
    assert table.outcomes(ids["cancel"]) == ["cancelled"]


_WORDS = {"snooze": "succeeded", "retry": "succeeded", "dead": "dead", "cancel": "cancelled"}


def test_exceptions_that_are_never_retried(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="refused", dead_on=(PermissionError,))
    async def refused() -> None:
        raise PermissionError("no")

    id_ = table.add_one("refused")
    work()
    table.wait(id_, "dead")
    assert table.row(id_)["attempt"] == 1


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_nothing_that_a_handler_raises_ends_the_worker(
    app: PgQueue, table: Table, work: Work, kind: str, raised: type[BaseException]
) -> None:
    @app.task(name="plain")
    def plain() -> None:
        raise raised(7)

    @app.task(name="coroutine")
    async def coroutine() -> None:
        raise raised(7)

    @app.task(name="healthy")
    async def healthy() -> None: ...

    bad = table.add_one(kind, max_attempts=1)
    work()
    table.wait(bad, "dead")
    good = table.add("healthy", count=5)
    table.wait(good, "succeeded")
    assert table.attempts(bad)[0]["error_type"] == raised.__name__


def test_a_result_that_json_cannot_hold_is_one_dead_job(
    app: PgQueue, table: Table, work: Work
) -> None:
    values: dict[str, Any] = {
        "set": {1, 2},
        "nan": float("nan"),
        "nul": "a\x00b",
        "surrogate": "\ud800",
        "fine": [1, "two"],
    }

    @app.task(name="give")
    def give(what: str) -> Any:
        return values[what]

    ids = {what: table.add_one("give", args={"what": what}) for what in values}
    work()
    table.wait_final(ids.values())
    states = {what: table.state(id_) for what, id_ in ids.items()}
    assert states.pop("fine") == "succeeded"
    assert set(states.values()) == {"dead"}
    assert {table.attempts(ids[what])[0]["error_type"] for what in states} == {"InvalidPayload"}


def test_a_result_above_its_limit_is_a_dead_job(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="large")
    def large(size: int) -> str:
        return "x" * size

    fits, too_large = (table.add_one("large", args={"size": size}) for size in (98, 99))
    work(max_result=100)
    table.wait_final([fits, too_large])
    assert [table.state(fits), table.state(too_large)] == ["succeeded", "dead"]
    [attempt] = table.attempts(too_large)
    assert attempt["error_type"] == "PayloadTooLarge"
    assert "101 bytes of JSON, the limit is 100" in attempt["message"]


def test_a_task_that_keeps_no_result_may_return_anything(
    app: PgQueue, table: Table, work: Work
) -> None:
    class Report: ...

    @app.task(name="plain", result=False)
    def plain() -> Any:
        return Report()

    @app.task(name="coroutine", result=False)
    async def coroutine() -> str:
        return "x" * 2_000_000

    @app.task(name="transactional", result=False, transactional=True)
    def transactional() -> Any:
        return Report()

    ids = [table.add_one(name) for name in ("plain", "coroutine", "transactional")]
    work()
    table.wait_final(ids)
    assert [(table.state(id_), table.row(id_)["result"]) for id_ in ids] == [
        ("succeeded", None)
    ] * 3


def test_a_row_that_cannot_be_decoded_is_one_dead_job(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="ok")
    async def ok(**values: object) -> None: ...

    # How deep Python reads depends on its version: up to 3.11 this is too deep.
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    ids = []
    for body in ('{"n": ' + "9" * 5000 + "}", "[1]", '"text"', deep):
        row = table.connection.execute(
            "insert into pgqueue.jobs (task, args) values ('ok', %s) returning id", [body]
        ).fetchone()
        assert row is not None
        ids.append(row[0])
    *bad, nested = ids
    good = table.add("ok", count=20)
    work()
    table.wait(good, "succeeded")
    table.wait(bad, "dead")
    table.wait_final([nested])


def test_stored_arguments_that_do_not_fit_are_a_dead_job(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="takes")
    def takes(number: int) -> None: ...

    id_ = table.add_one("takes", args={"other": 1})
    work()
    table.wait(id_, "dead")
    assert table.row(id_)["attempt"] == 1
    assert "number" in table.attempts(id_)[0]["message"]


def test_a_job_of_an_unknown_task_is_given_back_at_no_cost(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="known")
    def known() -> None: ...

    id_ = table.add_one("of.the.next.version")
    worker = work()
    wait_until(lambda: table.row(id_)["lease"] == 2, what="claimed and given back")
    row = table.row(id_)
    assert (row["state"], row["attempt"], row["worker_id"]) == ("ready", 0, None)
    assert row["run_at"] > row["started_at"]
    assert table.attempts(id_) == []
    assert worker.seen(events.TaskUnknown)[0].task == "of.the.next.version"
    table.wait(table.add("known"), "succeeded")


def test_an_expired_job_never_starts(app: PgQueue, table: Table, work: Work) -> None:
    started: list[int] = []

    @app.task(name="late")
    def late(context: JobContext) -> None:
        started.append(context.id)

    id_ = table.add_one("late", expires_at="2100-01-01T00:00:00Z")
    table.connection.execute(
        "update pgqueue.jobs set expires_at = clock_timestamp() - interval '1 s' where id = %s",
        [id_],
    )
    work()
    table.wait(id_, "expired")
    assert started == []


def test_an_async_handler_that_runs_too_long_is_ended(
    app: PgQueue, table: Table, work: Work
) -> None:
    ended: list[str] = []

    @app.task(name="slow", retry=SOON)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    id_ = table.add_one("slow", timeout=0.05, max_attempts=2)
    work()
    table.wait(id_, "dead")
    assert ended == ["cleaned up", "cleaned up"]
    assert [a["error_type"] for a in table.attempts(id_)] == ["JobTimeout", "JobTimeout"]


def test_a_handler_sees_its_job_and_nothing_of_others(
    app: PgQueue, table: Table, work: Work
) -> None:
    leaked: contextvars.ContextVar[str] = contextvars.ContextVar("leaked", default="clean")

    @app.task(name="plain")
    def plain(context: JobContext) -> dict[str, Any]:
        before = leaked.get()
        leaked.set("dirty")
        return {"same": current_job() is context, "before": before, "meta": dict(context.meta)}

    @app.task(name="coroutine")
    async def coroutine(context: JobContext) -> dict[str, Any]:
        before = leaked.get()
        leaked.set("dirty")
        await asyncio.sleep(0)
        return {"same": current_job() is context, "before": before, "meta": dict(context.meta)}

    ids = [
        id_ for name in ("plain", "coroutine") for id_ in table.add(name, count=30, meta={"a": 1})
    ]
    work()
    table.wait(ids, "succeeded")
    results = {json.dumps(table.row(id_)["result"], sort_keys=True) for id_ in ids}
    assert results == {'{"before": "clean", "meta": {"a": 1}, "same": true}'}


def test_a_blocked_event_loop_does_not_stop_threads_nor_the_engine(
    app: PgQueue, table: Table, work: Work
) -> None:
    release = threading.Event()

    @app.task(name="blocks")
    async def blocks() -> None:
        release.wait(20)

    @app.task(name="plain")
    def plain() -> None: ...

    blocking = table.add_one("blocks")
    work()
    wait_until(lambda: table.state(blocking) == "running")
    table.wait(table.add("plain", count=10), "succeeded")
    release.set()
    table.wait(blocking, "succeeded")


def test_thousands_of_jobs_each_run_exactly_once(app: PgQueue, table: Table, work: Work) -> None:
    runs: list[int] = []

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        runs.append(context.id)

    @app.task(name="coroutine")
    async def coroutine(context: JobContext) -> None:
        runs.append(context.id)

    ids = table.add("plain", count=2000) + table.add("coroutine", count=2000)
    work(), work()
    table.wait(ids, "succeeded", timeout=60)
    assert sorted(runs) == sorted(ids)
    assert table.count("lease <> 2 or attempt <> 1") == 0


def test_higher_priority_starts_first_and_equals_in_order(
    app: PgQueue, table: Table, work: Work
) -> None:
    order: list[int] = []

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        order.append(context.id)

    low = table.add("plain", count=3, priority=-5)
    high = table.add("plain", count=3, priority=7)
    middle = table.add("plain", count=3)
    work(threads=1)
    table.wait(low + high + middle, "succeeded")
    assert order == high + middle + low


def test_a_worker_takes_only_its_queues(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    mine = table.add_one("plain", queue="mine")
    other = table.add_one("plain", queue="other")
    work(queues=["mine", "third"])
    table.wait(mine, "succeeded")
    assert table.state(other) == "ready"


def test_a_retry_starts_when_it_is_due_and_not_at_the_next_poll(
    app: PgQueue, table: Table, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would find it within the minute."""
    monkeypatch.setattr(look, "PROBE_EVERY", 60.0)

    @app.task(name="fails_once", retry=fixed(0.2))
    def fails_once(context: JobContext) -> None:
        if context.attempt == 1:
            raise ValueError("once")

    work(poll_interval=60)
    table.wait(table.add_one("fails_once"), "succeeded")
