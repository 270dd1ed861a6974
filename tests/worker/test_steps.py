"""Steps are kept over attempts, effects over jobs; whoever lost its job keeps nothing."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.context import JobContext
from pgqueue.errors import Dead, EffectBusy
from pgqueue.retry import fixed
from pgqueue.telemetry import events
from tests.store.test_fence import rescue_values
from tests.waiting import wait_until
from tests.worker.conftest import QUICK
from tests.worker.transacting import KINDS, give_sessions, own, task_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

SOON = fixed(0.01)
COLOURS = pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])


class Calls:
    """Counts what functions are called for, and can stop one of them in its middle."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, name: str, result: Any = None) -> Any:
        self.counted[name] += 1
        return result

    def wait(self, name: str, result: Any = None) -> Any:
        self.counted[name] += 1
        self.reached.set()
        assert self.opened.wait(20)
        return result

    async def acall(self, name: str, result: Any = None) -> Any:
        return self(name, result)

    async def await_(self, name: str, result: Any = None) -> Any:
        return await asyncio.to_thread(self.wait, name, result)


@pytest.fixture
def calls() -> Calls:
    return Calls()


def checkpoints(table: Table) -> list[tuple[Any, ...]]:
    query = "select job_id, name, result from pgqueue.checkpoints order by job_id, name"
    return table.connection.execute(query).fetchall()


def effects(table: Table) -> list[tuple[Any, ...]]:
    query = "select key, job_id, result, finished_at is not null from pgqueue.effects order by key"
    return table.connection.execute(query).fetchall()


def rescue(table: Table, worker: Running) -> None:
    """Take all jobs from a worker that goes on."""
    values = rescue_values(worker.worker.worker_id)
    assert store.run(table.connection, QUICK, "rescue", values)


def add_steps(app: PgQueue, calls: Calls) -> None:
    """A task of two steps that fails between them at first."""

    @app.task(name="plain", retry=SOON)
    def plain(context: JobContext) -> list[Any]:
        first = context.step("first", calls, "first", result=(1, {"a": None}))
        if context.attempt == 1:
            raise ValueError("between")
        return [first, context.step("second", calls, "second")]

    @app.task(name="coroutine", retry=SOON)
    async def coroutine(context: JobContext) -> list[Any]:
        first = await context.astep("first", calls.acall, "first", result=(1, {"a": None}))
        if context.attempt == 1:
            raise ValueError("between")
        return [first, await context.astep("second", calls, "second")]


@COLOURS
def test_a_retry_goes_on_where_the_last_attempt_stopped(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool
) -> None:
    add_steps(app, calls)
    id_ = table.add_one("coroutine" if is_async else "plain")
    work()
    table.wait(id_, "succeeded")
    assert calls.counted == {"first": 1, "second": 1}
    assert table.row(id_)["result"] == [[1, {"a": None}], None]
    assert checkpoints(table) == [(id_, "first", [1, {"a": None}]), (id_, "second", None)]


def test_a_result_is_the_same_at_first_as_when_it_was_kept(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    @app.task(name="t", retry=SOON)
    def t(context: JobContext) -> str:
        found = context.step("first", calls, "first", (1, 2))
        if context.attempt == 1:
            raise ValueError(repr(found))
        return repr(found)

    id_ = table.add_one("t")
    work()
    table.wait(id_, "succeeded")
    assert table.row(id_)["result"] == table.attempts(id_)[0]["message"] == "[1, 2]"


def test_a_step_that_fails_keeps_nothing(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    @app.task(name="t", retry=SOON)
    def t(context: JobContext) -> None:
        def fails() -> None:
            calls("fails")
            if context.attempt < 3:
                raise ValueError("no")

        context.step("fails", fails)

    id_ = table.add_one("t")
    work()
    table.wait(id_, "succeeded")
    assert calls.counted == {"fails": 3}


def ask_task(ask: Callable[[JobContext], Any]) -> Any:
    def asks(context: JobContext) -> None:
        ask(context)

    return asks


def twice(context: JobContext) -> None:
    context.step("mail", int)
    context.step("mail", int)


BAD: dict[str, tuple[Callable[[JobContext], Any], str, str]] = {
    "twice": (twice, "StepError", "step 'mail' of twice was run twice"),
    "empty": (lambda context: context.step("", int), "StepError", "1 to 128 bytes"),
    "long": (lambda context: context.step("x" * 129, int), "StepError", "1 to 128 bytes"),
    "NUL": (lambda context: context.once("a\0b", int), "StepError", "without NUL"),
    "long key": (lambda context: context.once("x" * 513, int), "StepError", "1 to 512 bytes"),
    "keep": (lambda context: context.once("k", int, keep=-1), "StepError", "keep=-1"),
    "wait": (lambda context: context.once("k", int, wait="1"), "StepError", "wait='1'"),  # type: ignore[arg-type]
    "no JSON": (lambda context: context.step("a", set), "InvalidPayload", "step 'a' of job"),
    "too large": (
        lambda context: context.once("k", lambda: "x" * QUICK.max_result),
        "PayloadTooLarge",
        "effect 'k' of too_large",
    ),
}


def test_what_cannot_be_kept_is_refused_in_words(app: PgQueue, table: Table, work: Work) -> None:
    for what, (ask, _, _) in BAD.items():
        app.task(name=what.replace(" ", "_"))(ask_task(ask))
    ids = {what: table.add_one(what.replace(" ", "_"), max_attempts=1) for what in BAD}
    work()
    table.wait(ids.values(), "dead")
    for what, (_, kind, words) in BAD.items():
        [failed] = table.attempts(ids[what])
        assert failed["error_type"] == kind, what
        assert words in failed["message"], what
    assert not [kept for kept in effects(table) if kept[3]]


def test_the_plain_calls_refuse_an_event_loop(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="t")
    async def t(context: JobContext) -> None:
        context.step("a", int)

    id_ = table.add_one("t", max_attempts=1)
    work()
    table.wait(id_, "dead")
    assert "await context.astep" in table.attempts(id_)[0]["message"]


@COLOURS
@pytest.mark.parametrize("what", ["step", "once"])
def test_a_worker_that_lost_the_job_runs_no_function(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool, what: str
) -> None:
    """The job is cancelled by hand before the step; the zombie's function must not begin."""

    @app.task(name="plain")
    def plain(context: JobContext) -> None:
        calls.wait("before")
        (context.step if what == "step" else context.once)("late", calls, "late")

    @app.task(name="coroutine")
    async def coroutine(context: JobContext) -> None:
        await calls.await_("before")
        await (context.astep if what == "step" else context.aonce)("late", calls, "late")

    id_ = table.add_one("coroutine" if is_async else "plain")
    worker = work()
    assert calls.reached.wait(10)
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [id_]
    )
    calls.opened.set()
    wait_until(lambda: worker.seen(events.LeaseGone), what="the loss is told")
    assert calls.counted == {"before": 1}


def test_a_zombie_keeps_no_step_and_the_rescued_attempt_does_it_again(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    first = threading.Event()

    @app.task(name="t")
    def t(context: JobContext) -> Any:
        if not first.is_set():
            first.set()
            return context.step("a", calls.wait, "zombie", "zombie's")
        return context.step("a", calls, "rescued", "rescued")

    id_ = table.add_one("t")
    zombie = work()
    assert calls.reached.wait(10)
    rescue(table, zombie)
    table.wait(id_, "succeeded")
    calls.opened.set()
    wait_until(lambda: zombie.seen(events.LeaseGone), what="the loss is told")
    assert checkpoints(table) == [(id_, "a", "rescued")]
    assert table.row(id_)["result"] == "rescued"


def test_a_rescue_and_a_checkpoint_come_one_after_the_other(
    table: Table, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """While a checkpoint is on its way, the rescue passes by its job, and takes it afterwards."""
    id_ = table.add_one("t")
    connection.execute(
        "update pgqueue.jobs set state = 'running', lease = 1, attempt = 1, worker_id = 7"
    )
    values = {"id": id_, "lease": 1, "name": "a", "result": None}
    with connection.transaction():
        assert store.execute(connection, "step_keep", values).fetchall() == [(id_,)]
        with psycopg.connect(dsn, autocommit=True) as other:
            assert store.run(other, QUICK, "rescue", rescue_values(7)) == []
    [(rescued, state, *_)] = store.run(connection, QUICK, "rescue", rescue_values(7))
    assert (rescued, state) == (id_, "ready")
    values["name"] = "b"
    assert store.run(connection, QUICK, "step_keep", values) == []


def test_whoever_took_an_effect_over_is_the_only_one_to_keep_it(
    table: Table, connection: psycopg.Connection[Any]
) -> None:
    """While the second is at it, the first comes back: with a result, and to give it back."""
    first, second = table.add("t", count=2)
    connection.execute(
        "update pgqueue.jobs set state = 'running', lease = 1, attempt = 1, worker_id = id"
    )
    mine = {"scope": "s", "key": "k", "lease": 1, "result": '"mine"', "keep": None}

    def run(name: str, job: int) -> list[Any]:
        return store.run(connection, QUICK, name, {**mine, "id": job})

    assert run("once_claim", first) == [(first,)]
    assert run("once_claim", second) == []
    [(rescued, *_)] = store.run(connection, QUICK, "rescue", rescue_values(first))
    assert rescued == first
    assert run("once_claim", first) == []
    assert run("once_claim", second) == [(second,)]
    assert run("once_keep", first) == run("once_release", first) == []
    assert run("once_keep", second) == [(second,)]
    assert effects(table) == [("k", second, "mine", True)]


def test_deleting_a_job_deletes_its_checkpoints(
    app: PgQueue, table: Table, work: Work, calls: Calls, dsn: str
) -> None:
    add_steps(app, calls)
    id_ = table.add_one("plain")
    work()
    table.wait(id_, "succeeded")
    with type(app)(dsn) as operating:
        operating.delete(id_)
    assert checkpoints(table) == []


def test_what_a_codec_encrypts_is_encrypted_here_too(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    from pgqueue.crypto import AesGcmCodec  # noqa: PLC0415 - one test needs it

    app.codec = AesGcmCodec({"k1": base64.b64encode(bytes(32)).decode()})

    @app.task(name="t", retry=SOON)
    def t(context: JobContext) -> str:
        one = context.step("a", calls, "a", "secret")
        other = context.once("b", calls, "b", "secret")
        if context.attempt == 1:
            raise ValueError("again")
        return "same" if one == other == "secret" else repr((one, other))

    id_ = table.add_one("t")
    work()
    table.wait(id_, "succeeded")
    assert calls.counted == {"a": 1, "b": 1}
    assert "secret" not in repr((checkpoints(table), effects(table)))


# -- effects --------------------------------------------------------------------------------------


def add_once(app: PgQueue, calls: Calls, **terms: Any) -> None:
    """Tasks whose function waits at the gate when it is run first."""

    @app.task(name="plain", retry=SOON)
    def plain(context: JobContext, *, fail: bool = False) -> Any:
        def charge() -> str:
            first = not calls.counted["charge"]
            calls("charge")
            if first:
                calls.wait("first")
                if fail:
                    raise Dead("the first fails")
            return f"by {context.id}"

        return context.once("charge", charge, scope="s", **terms)

    @app.task(name="coroutine", retry=SOON)
    async def coroutine(context: JobContext, *, fail: bool = False) -> Any:
        async def charge() -> str:
            first = not calls.counted["charge"]
            calls("charge")
            if first:
                await calls.await_("first")
                if fail:
                    raise Dead("the first fails")
            return f"by {context.id}"

        return await context.aonce("charge", charge, scope="s", **terms)


@COLOURS
def test_callers_wait_for_the_first_and_get_its_result(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool
) -> None:
    add_once(app, calls)
    name = "coroutine" if is_async else "plain"
    first = table.add_one(name)
    work()
    assert calls.reached.wait(10)
    others = [table.add_one("coroutine"), table.add_one("plain")]
    table.wait(others, "running")
    calls.opened.set()
    table.wait([first, *others], "succeeded")
    late = table.add_one(name)
    table.wait(late, "succeeded")
    assert calls.counted["charge"] == 1
    assert {table.row(id_)["result"] for id_ in [*others, late]} == {f"by {first}"}
    assert effects(table) == [("charge", first, f"by {first}", True)]


@COLOURS
def test_when_the_first_fails_a_waiter_runs_it(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool
) -> None:
    add_once(app, calls)
    name = "coroutine" if is_async else "plain"
    first = table.add_one(name, args={"fail": True})
    work()
    assert calls.reached.wait(10)
    other = table.add_one(name)
    table.wait(other, "running")
    calls.opened.set()
    table.wait(first, "dead")
    table.wait(other, "succeeded")
    assert calls.counted["charge"] == 2
    assert effects(table) == [("charge", other, f"by {other}", True)]


@COLOURS
def test_when_the_first_loses_its_job_a_waiter_runs_it_and_the_zombie_keeps_nothing(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool
) -> None:
    add_once(app, calls)
    name = "coroutine" if is_async else "plain"
    first = table.add_one(name)
    zombie = work()
    assert calls.reached.wait(10)
    other = table.add_one(name)
    table.wait(other, "running")
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [first]
    )
    table.wait(other, "succeeded")
    calls.opened.set()
    wait_until(lambda: zombie.seen(events.LeaseGone), what="the loss is told")
    assert effects(table) == [("charge", other, f"by {other}", True)]


def test_a_worker_that_lost_its_job_may_say_what_it_did_while_nobody_does_it_again(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    """Its effect is a fact: not to keep it would be to have it twice."""
    add_once(app, calls)
    first = table.add_one("plain")
    worker = work()
    assert calls.reached.wait(10)
    table.connection.execute(
        "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s", [first]
    )
    calls.opened.set()
    wait_until(lambda: worker.seen(events.LeaseGone), what="the loss is told")
    other = table.add_one("plain")
    table.wait(other, "succeeded")
    assert calls.counted["charge"] == 1
    assert table.row(other)["result"] == f"by {first}"


@COLOURS
def test_who_waits_in_vain_comes_back_at_no_cost(
    app: PgQueue, table: Table, work: Work, calls: Calls, is_async: bool
) -> None:
    add_once(app, calls, wait=0.05)
    name = "coroutine" if is_async else "plain"
    first = table.add_one(name)
    work()
    assert calls.reached.wait(10)
    other = table.add_one(name, max_attempts=1)
    wait_until(lambda: table.row(other)["lease"] == 2, what="it is given back")
    row = table.row(other)
    assert (row["state"], row["attempt"]) == ("ready", 0)
    assert table.attempts(other) == []
    calls.opened.set()
    table.wait(first, "succeeded")
    table.make_due(other)
    table.wait(other, "succeeded")
    assert calls.counted["charge"] == 1


def test_a_handler_can_see_that_another_job_is_at_it(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    @app.task(name="t")
    def t(context: JobContext) -> str:
        try:
            context.once("k", calls.wait, "first", wait=0)
        except EffectBusy as busy:
            return str(busy)
        return "done"

    first = table.add_one("t")
    work()
    assert calls.reached.wait(10)
    other = table.add_one("t")
    table.wait(other, "succeeded")
    assert table.row(other)["result"] == f"effect 'k' of t: job {first} is at it"
    calls.opened.set()


def test_an_effect_may_happen_again_after_its_time(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    @app.task(name="t")
    def t(context: JobContext) -> Any:
        return context.once("k", lambda: calls("k", context.id), keep=3600)

    first = table.add_one("t")
    work()
    table.wait(first, "succeeded")
    again = table.add_one("t")
    table.wait(again, "succeeded")
    assert table.row(again)["result"] == first
    table.connection.execute("update pgqueue.effects set expires_at = now() - interval '1 s'")
    late = table.add_one("t")
    table.wait(late, "succeeded")
    assert table.row(late)["result"] == late
    assert calls.counted == {"k": 2}


def test_each_task_has_a_scope_of_its_own(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    @app.task(name="one")
    def one(context: JobContext) -> None:
        context.once("k", calls, "k")

    @app.task(name="other")
    def other(context: JobContext) -> None:
        context.once("k", calls, "k")

    work()
    table.wait([table.add_one("one"), table.add_one("other"), table.add_one("one")], "succeeded")
    assert calls.counted == {"k": 2}


# -- in the job's own transaction -----------------------------------------------------------------


def add_inside(app: PgQueue, calls: Calls, name: str, dsn: str, **terms: Any) -> None:
    """A transactional task: the first charge waits at the gate, and may then fail."""
    kind = KINDS[name]
    give_sessions(app, kind.driver, lambda: dsn)

    def end(fail: bool, first: bool) -> None:
        if fail and first:
            raise Dead("the first fails")

    def plain(context: JobContext, *, fail: bool = False) -> Any:
        context.step("a", calls, "step")
        first = not calls.counted["charge"]

        def charge() -> str:
            calls("charge")
            return f"by {context.id}"

        result = context.once("charge", charge, scope="s", **terms)
        if first:
            calls.wait("first")
        end(fail, first)
        return result

    async def coroutine(context: JobContext, *, fail: bool = False) -> Any:
        await context.astep("a", calls, "step")
        first = not calls.counted["charge"]

        async def charge() -> str:
            calls("charge")
            return f"by {context.id}"

        result = await context.aonce("charge", charge, scope="s", **terms)
        if first:
            await calls.await_("first")
        end(fail, first)
        return result

    function: Any = coroutine if kind.is_async else plain
    app.task(name=task_name(name), transactional=kind.transactional, retry=SOON)(function)


EACH = pytest.mark.parametrize(
    "kind", ["plain", "coroutine", "session psycopg2", "asession asyncpg", "sa_connection"]
)


@EACH
@pytest.mark.parametrize("fail", [False, True], ids=["first commits", "first fails"])
def test_inside_a_transaction_the_effect_commits_with_its_job_or_was_never_begun(
    app: PgQueue, table: Table, work: Work, calls: Calls, dsn: str, kind: str, fail: bool
) -> None:
    add_inside(app, calls, kind, dsn)
    first = table.add_one(task_name(kind), args={"fail": fail})
    work()
    assert calls.reached.wait(10)
    assert effects(table) == []
    other = table.add_one(task_name(kind))
    blocked = "select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'effects'"
    wait_until(lambda: table.connection.execute(blocked).fetchall(), what="the other waits")
    calls.opened.set()
    table.wait(first, "dead" if fail else "succeeded")
    table.wait(other, "succeeded")
    winner = other if fail else first
    assert table.row(other)["result"] == f"by {winner}"
    assert effects(table) == [("charge", winner, f"by {winner}", True)]
    assert calls.counted["charge"] == (2 if fail else 1)
    assert checkpoints(table) == []


@pytest.mark.parametrize("kind", ["plain", "asession asyncpg", "session pg8000"])
def test_inside_a_transaction_waiting_in_vain_costs_no_attempt(
    app: PgQueue, table: Table, work: Work, calls: Calls, dsn: str, kind: str
) -> None:
    add_inside(app, calls, kind, dsn, wait=0.1)
    first = table.add_one(task_name(kind))
    work()
    assert calls.reached.wait(10)
    other = table.add_one(task_name(kind), max_attempts=1)
    wait_until(lambda: table.row(other)["lease"] == 2, what="it is given back")
    assert table.row(other)["attempt"] == 0
    calls.opened.set()
    table.wait(first, "succeeded")
    table.make_due(other)
    table.wait(other, "succeeded")
    assert calls.counted["charge"] == 1


def test_inside_a_transaction_a_caught_wait_leaves_the_transaction_usable(
    app: PgQueue, table: Table, work: Work, calls: Calls
) -> None:
    table.connection.execute("create table seen (timeout text)")

    @app.task(name="t", transactional=True)
    def t(context: JobContext) -> str:
        own(context).execute("set local lock_timeout = '7s'")
        try:
            context.once("k", calls, "charge", wait=0.05)
            calls.wait("first")
        except EffectBusy:
            own(context).execute("insert into seen select current_setting('lock_timeout')")
            return "busy"
        own(context).execute("insert into seen select current_setting('lock_timeout')")
        return "done"

    first = table.add_one("t")
    work()
    assert calls.reached.wait(10)
    other = table.add_one("t")
    table.wait(other, "succeeded")
    calls.opened.set()
    table.wait(first, "succeeded")
    assert [table.row(id_)["result"] for id_ in (first, other)] == ["done", "busy"]
    assert table.connection.execute("select timeout from seen").fetchall() == [("7s",), ("7s",)]


def test_without_a_worker_it_says_so() -> None:
    alone = JobContext(id=7, task="app.work", queue="q", attempt=1, max_attempts=8, lease=1)
    with pytest.raises(TypeError, match=r"app\.work: .* kept by a worker"):
        alone.step("a", int)
    assert alone.token("mail") == "pgqueue-7-mail"
