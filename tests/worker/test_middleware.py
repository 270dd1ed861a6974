"""Middleware: what stands round a handler sees, changes and undoes what it may."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import JobContext
from pgqueue.errors import ConfigError, Dead
from tests.worker.conftest import Running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pgqueue.app import PgQueue
    from tests.worker.table import Table

    Work = Callable[..., Running]

tenant: ContextVar[str] = ContextVar("tenant")


def test_each_kind_of_handler_runs_in_the_middleware_of_its_kind_and_a_generator_round_both(
    app: PgQueue, table: Table, work: Work
) -> None:
    order: dict[str, list[str]] = {"plain": [], "coroutine": []}

    @app.task(name="plain")
    def plain(number: int) -> int:
        order["plain"].append("handler")
        return number

    @app.middleware
    def twice(context: JobContext, call_next: Callable[[], int]) -> int:
        order[context.task].append(f"def {dict(context.args)}")
        return 2 * call_next()

    @app.middleware
    async def thrice(context: JobContext, call_next: Callable[[], Awaitable[int]]) -> int:
        order[context.task].append(f"async {dict(context.args)}")
        await asyncio.sleep(0)
        return 3 * await call_next()

    @app.middleware
    def both(context: JobContext) -> Iterator[None]:
        order[context.task].append("before")
        yield
        order[context.task].append("after")

    @app.task(name="coroutine")
    async def coroutine(context: JobContext, number: int) -> int:
        order["coroutine"].append(f"handler {dict(context.args)}")
        return number

    ids = [table.add_one(name, args={"number": 7}) for name in order]
    work()
    table.wait(ids, "succeeded")
    assert [table.row(id_)["result"] for id_ in ids] == [14, 21]
    assert order == {
        "plain": ["def {'number': 7}", "before", "handler", "after"],
        "coroutine": ["async {'number': 7}", "before", "handler {'number': 7}", "after"],
    }


def test_a_tasks_own_middleware_is_inside_of_the_apps_and_round_no_other_task(
    app: PgQueue, table: Table, work: Work
) -> None:
    seen: list[str] = []

    def own(context: JobContext) -> Iterator[None]:
        seen.append(f"own of {context.task}")
        yield

    @app.task(name="with", middleware=[own])
    def with_own() -> None:
        """Do nothing."""

    @app.task(name="without")
    def without() -> None:
        """Do nothing."""

    @app.middleware
    def outer(context: JobContext) -> Iterator[None]:
        seen.append(f"app of {context.task}")
        yield

    first = table.add_one("with")
    work()
    table.wait(first, "succeeded")
    table.wait(table.add_one("without"), "succeeded")
    assert seen == ["app of with", "own of with", "app of without"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_middleware_that_raises_is_the_handler_raising(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    ran: list[str] = []

    @app.middleware
    def refuse(context: JobContext) -> Iterator[None]:
        if context.args["number"] == 1:
            raise Dead("refused by the middleware")
        try:
            yield
        except KeyError as error:
            raise Dead("translated") from error

    @app.task(name="plain")
    def plain(number: int) -> None:
        ran.append(f"plain {number}")
        raise KeyError(number)

    @app.task(name="coroutine")
    async def coroutine(number: int) -> None:
        ran.append(f"coroutine {number}")
        raise KeyError(number)

    ids = [table.add_one(kind, args={"number": number}) for number in (1, 2)]
    work()
    table.wait(ids, "dead")
    messages = [table.attempts(id_)[0]["message"] for id_ in ids]
    assert messages == ["refused by the middleware", "translated"]
    assert ran == [f"{kind} 2"]


def test_a_middleware_can_answer_without_the_handler(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.middleware
    def cached(context: JobContext, call_next: Callable[[], str]) -> str:
        return f"{context.task} was not called" if context.meta.get("cached") else call_next()

    @app.task(name="answers")
    def answers() -> str:
        return "called"

    ids = [table.add_one("answers", meta={"cached": True}), table.add_one("answers")]
    work()
    table.wait(ids, "succeeded")
    assert [table.row(id_)["result"] for id_ in ids] == ["answers was not called", "called"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_transactional_handler_has_its_middleware_inside_of_the_transaction(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    table.connection.execute("create table written (id bigint, what text)")
    write = "insert into written values (%s, %s)"

    @app.middleware
    def audit(context: JobContext, call_next: Callable[[], None]) -> None:
        context.connection.execute(write, [context.id, "middleware"])
        call_next()
        if context.attempt == 1:
            raise RuntimeError("undo")

    @app.middleware
    async def aaudit(context: JobContext, call_next: Callable[[], Awaitable[None]]) -> None:
        await context.aconnection.execute(write, [context.id, "middleware"])
        await call_next()
        if context.attempt == 1:
            raise RuntimeError("undo")

    @app.task(name="plain", transactional=True, retry=lambda _: 0.01)
    def plain(context: JobContext) -> None:
        context.connection.execute(write, [context.id, "handler"])

    @app.task(name="coroutine", transactional=True, retry=lambda _: 0.01)
    async def coroutine(context: JobContext) -> None:
        await context.aconnection.execute(write, [context.id, "handler"])

    id_ = table.add_one(kind)
    work()
    table.wait(id_, "succeeded")
    rows = table.connection.execute("select id, what from written order by what").fetchall()
    assert rows == [(id_, "handler"), (id_, "middleware")]
    assert table.row(id_)["attempt"] == 2


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_a_middleware_sets_in_a_context_variable_is_seen_below_and_gone_with_the_job(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    @app.middleware
    @contextmanager
    def bind(context: JobContext) -> Iterator[None]:
        assert tenant.get("nobody") == "nobody"
        tenant.set(context.meta["tenant"])
        yield

    @app.task(name="plain")
    def plain() -> str:
        return tenant.get()

    @app.task(name="coroutine")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return tenant.get()

    ids = [table.add_one(kind, meta={"tenant": str(number)}) for number in range(20)]
    work()
    table.wait(ids, "succeeded")
    assert [table.row(id_)["result"] for id_ in ids] == [str(number) for number in range(20)]


def test_a_task_without_middleware_is_called_as_ever(app: PgQueue) -> None:
    @app.task(name="plain")
    def plain() -> None:
        """Do nothing."""

    @app.middleware
    async def other_kind(_context: JobContext, call_next: Callable[[], Awaitable[None]]) -> None:
        await call_next()

    assert plain.around is None


async def _stream(context: JobContext) -> Any:
    yield context


REFUSED: list[tuple[Any, str]] = [
    ("text", "'text' cannot be a middleware"),
    (lambda context: context, r"cannot be called with \(context, call_next\)"),
    (_stream, "_stream.* cannot be a middleware: expected"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSED)
def test_what_has_no_known_form_is_refused(app: PgQueue, function: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        app.middleware(function)
    with pytest.raises(ConfigError, match=reason):
        app.task(name="refused", middleware=[function])(lambda: None)
    assert app.layers == ()


def test_a_middleware_of_the_other_kind_is_refused_for_a_task(app: PgQueue) -> None:
    def plain(_context: JobContext, call_next: Callable[[], Any]) -> Any:
        return call_next()

    async def handler() -> None:
        """Do nothing."""

    with pytest.raises(ConfigError, match=r"^x is async def, and its middleware .*plain.* is def"):
        app.task(name="x", middleware=[plain])(handler)
    with pytest.raises(ConfigError, match="must be a list of functions"):
        app.task(name="x", middleware=plain)(handler)  # type: ignore[call-overload]
