"""What travels with a job: context variables of the app, and the trace that it belongs to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from pgqueue.app import PgQueue
from pgqueue.context import JobContext, current_job
from pgqueue.errors import ConfigError, InvalidPayload
from pgqueue.redaction import MARK
from tests.worker.conftest import QUICK, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgqueue.handle import JobHandle
    from tests.worker.table import Table

    Work = Callable[..., Running]

tenant: ContextVar[Any] = ContextVar("tenant", default="nobody")
user: ContextVar[int] = ContextVar("user")
request_trace: ContextVar[str] = ContextVar("traceparent")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
def app(dsn: str) -> Iterator[PgQueue]:
    with PgQueue(dsn, settings=QUICK) as app:
        yield app


def setting(variable: ContextVar[Any], value: Any, call: Callable[[], Any]) -> Any:
    """What a call gives where a variable is set."""

    def run() -> Any:
        variable.set(value)
        return call()

    return copy_context().run(run)


def spanning(parent: str, call: Callable[[], Any], **state: str) -> Any:
    """What a call gives in a span of OpenTelemetry."""
    _, trace_id, span_id, _ = parent.split("-")
    context = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=False,
        trace_flags=TraceFlags(1), trace_state=TraceState(list(state.items())),
    )  # fmt: skip
    with trace.use_span(NonRecordingSpan(context)):
        return call()


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_variables_are_set_in_the_handler_and_in_what_it_enqueues(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    app.carry(tenant)
    app.carry(user, name="user-id")
    seen: list[Any] = []

    @app.middleware
    def note(_: JobContext) -> Iterator[None]:
        seen.append(tenant.get())
        yield

    @app.task(name="plain")
    def plain(depth: int) -> list[Any]:
        if depth:
            plain.enqueue(depth - 1)
        return [tenant.get(), user.get(None), dict(current_job().meta)]

    @app.task(name="coroutine")
    async def coroutine(depth: int) -> list[Any]:
        if depth:
            await coroutine.aenqueue(depth - 1)
        return [tenant.get(), user.get(None), dict(current_job().meta)]

    task: Any = {"plain": plain, "coroutine": coroutine}[kind]
    job = setting(tenant, {"id": 7}, lambda: task.using(meta={"own": 1}).enqueue(1))
    stored = table.row(job.id)["meta"]
    assert stored == {"own": 1, MARK: {"carry": {"tenant": {"id": 7}}}}
    work()
    table.wait([job.id, job.id + 1], "succeeded")
    assert table.row(job.id)["result"] == [{"id": 7}, None, {"own": 1}]
    assert table.row(job.id + 1)["result"] == [{"id": 7}, None, {}]
    assert seen == [{"id": 7}, {"id": 7}]
    assert app.job(job.id).meta == {"own": 1}
    assert tenant.get() == "nobody"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_jobs_that_run_beside_each_other_have_each_their_own(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    app.carry(user)

    @app.task(name="plain")
    def plain() -> int:
        return user.get(-1)

    @app.task(name="coroutine")
    async def coroutine() -> int:
        await asyncio.sleep(0)
        return user.get(-1)

    task: Any = {"plain": plain, "coroutine": coroutine}[kind]
    jobs: list[JobHandle] = [setting(user, n, task.enqueue) for n in range(30)]
    jobs += [task.enqueue() for _ in range(5)]
    work()
    table.wait([job.id for job in jobs], "succeeded")
    assert [table.row(job.id)["result"] for job in jobs] == [*range(30), *[-1] * 5]


def test_what_is_carried_stands_beside_what_is_redacted(app: PgQueue) -> None:
    app.carry(user)

    @app.task(name="secret", redact={"token"})
    def secret(token: str) -> str:
        return token

    job = setting(user, 3, lambda: secret.job("x"))
    assert job.meta == {MARK: {"redact": ["token"], "carry": {"user": 3}}}


def test_what_json_cannot_hold_is_refused_before_any_sql(app: PgQueue) -> None:
    app.carry(tenant)
    task = app.task(name="t")(lambda: None)
    with pytest.raises(InvalidPayload, match=r"^meta\['\$pgqueue'\]\.carry\.tenant: object"):
        setting(tenant, object(), task.enqueue)


def test_what_somebody_wrote_into_meta_by_hand_harms_nothing(
    app: PgQueue, table: Table, work: Work
) -> None:
    app.carry(user)

    @app.task(name="reads")
    def reads() -> int:
        return user.get(-1)

    marks: list[Any] = [None, 7, [], {"carry": 7}, {"carry": {"other": 1}}]
    metas: list[Any] = [{MARK: mark} for mark in marks]
    metas += [{"traceparent": 7}, {"traceparent": "x" * 1000}, {"traceparent": "no trace"}]
    ids = [table.add_one("reads", meta=meta) for meta in metas]
    work()
    table.wait(ids, "succeeded")
    assert {table.row(id_)["result"] for id_ in ids} == {-1}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_trace_of_opentelemetry_goes_on_in_the_handler_and_in_its_jobs(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    def span() -> list[Any]:
        found = trace.get_current_span().get_span_context()
        return [f"{found.trace_id:032x}", f"{found.span_id:016x}", dict(found.trace_state)]

    @app.task(name="plain")
    def plain(depth: int) -> list[Any]:
        if depth:
            plain.enqueue(depth - 1)
        return span()

    @app.task(name="coroutine")
    async def coroutine(depth: int) -> list[Any]:
        if depth:
            await coroutine.aenqueue(depth - 1)
        return span()

    task: Any = {"plain": plain, "coroutine": coroutine}[kind]
    job = spanning(PARENT, lambda: task.enqueue(1), vendor="v")
    outside = task.enqueue(0)
    assert table.row(job.id)["meta"] == {"traceparent": PARENT, "tracestate": "vendor=v"}
    assert table.row(outside.id)["meta"] == {}
    work()
    ids = [job.id, outside.id, outside.id + 1]
    table.wait(ids, "succeeded")
    expected = [*PARENT.split("-")[1:3], {"vendor": "v"}]
    assert table.row(job.id)["result"] == table.row(ids[2])["result"] == expected
    assert table.row(outside.id)["result"] == ["0" * 32, "0" * 16, {}]


def test_a_callers_own_trace_context_goes_before_all_others(app: PgQueue) -> None:
    app.carry(request_trace)
    task = app.task(name="t")(lambda: None)

    def meta(**own: str) -> Any:
        return spanning(PARENT, task.using(meta=own).job, vendor="v").meta

    assert meta(traceparent=OTHER) == {"traceparent": OTHER}
    assert setting(request_trace, OTHER, meta) == {"traceparent": OTHER}
    assert meta(own="x") == {"own": "x", "traceparent": PARENT, "tracestate": "vendor=v"}


WITHOUT_OPENTELEMETRY = """
import json
import sys
from contextvars import ContextVar
from pgqueue import PgQueue, current_job
from tests.worker.conftest import QUICK, Running
from tests.waiting import wait_until

assert "opentelemetry" not in sys.modules
app = PgQueue(sys.argv[1], settings=QUICK)
done = []

@app.task(name="chain")
def chain(depth: int) -> None:
    done.append(dict(current_job().meta))
    if depth:
        chain.enqueue(depth - 1)

chain.using(meta={"traceparent": "00-a-b-01", "tracestate": "v=1", "own": 1}).enqueue(1)
running = Running(app, sys.argv[1], QUICK, ["default"])
wait_until(lambda: len(done) == 2)
variable = app.carry(ContextVar("traceparent"))
variable.set("00-c-d-01")
chain.enqueue(1)
wait_until(lambda: len(done) == 4)
running.stop()
app.close()
assert "opentelemetry" not in sys.modules
print(json.dumps(done))
"""


def test_without_opentelemetry_a_trace_context_is_passed_on_all_the_same(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY, dsn],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    first = {"traceparent": "00-a-b-01", "tracestate": "v=1"}
    second = {"traceparent": "00-c-d-01"}
    assert json.loads(done.stdout) == [{"own": 1, **first}, first, second, second]


def test_an_app_that_carries_nothing_adds_nothing(app: PgQueue) -> None:
    task = app.task(name="t")(lambda: None)
    assert task.job().meta == {}
    assert task.using(meta={"own": 1}).job().meta == {"own": 1}


@pytest.mark.parametrize(
    ("variable", "name", "reason"),
    [
        ("tenant", None, "'tenant' is not a ContextVar"),
        (tenant, "", "the name '' is refused"),
        (tenant, "x" * 129, "is refused; expected 1 to 128"),
        (tenant, "user", "the name 'user' is taken by <ContextVar name='user'"),
    ],
)
def test_what_cannot_be_carried_is_refused(
    app: PgQueue, variable: Any, name: str | None, reason: str
) -> None:
    app.carry(user)
    assert app.carry(user) is user
    with pytest.raises(ConfigError, match=reason):
        app.carry(variable, name=name)
