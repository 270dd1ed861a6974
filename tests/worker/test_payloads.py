"""Typed, versioned and encrypted arguments on their way through a real worker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pydantic
import pytest

from pgqueue.app import PgQueue
from pgqueue.context import JobContext
from pgqueue.crypto import AesGcmCodec
from pgqueue.telemetry import events
from tests.waiting import wait_until
from tests.worker.conftest import QUICK
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.worker.conftest import Running

    Work = Callable[..., Running]

KEY = AesGcmCodec.generate_key()
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ID = UUID("7f3c0f5e-2b51-4d6e-9a57-0d3b6f1f2a10")


@dataclass
class Line:
    price: Decimal
    at: datetime


class Order(pydantic.BaseModel):
    id: UUID
    total: Decimal


def enqueue(connection: psycopg.Connection, task: Any, *args: Any, **kwargs: Any) -> int:
    return int(task.using(connection).enqueue(*args, **kwargs).id)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_the_handler_gets_real_types_and_the_table_holds_json(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    got: list[Any] = []

    @app.task(name="plain")
    def plain(lines: list[Line], order: Order, when: datetime = NOON) -> dict[str, Order]:
        got.extend([lines, order, when])
        return {"order": order}

    @app.task(name="coroutine")
    async def coroutine(lines: list[Line], order: Order, when: datetime = NOON) -> tuple[Line, ...]:
        got.extend([lines, order, when])
        return tuple(lines)

    lines, order = [Line(Decimal("1.50"), NOON)], Order(id=ID, total=Decimal("1.50"))
    id_ = enqueue(table.connection, app.tasks[kind], lines, order=order)
    work()
    table.wait(id_, "succeeded")
    assert got == [lines, order, NOON]
    assert [type(each) for each in got] == [list, Order, datetime]
    line = {"price": "1.50", "at": "2026-11-22T12:00:00+00:00"}
    stored = {"lines": [line], "order": {"id": str(ID), "total": "1.50"}}
    row = table.row(id_)
    assert row["args"] == stored
    assert row["result"] == ({"order": stored["order"]} if kind == "plain" else [line])
    assert app.tasks[kind].read_result(row["result"]) == (
        {"order": order} if kind == "plain" else tuple(lines)
    )


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_transactional_handler_gets_and_returns_real_types_too(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    @app.task(name="plain", transactional=True)
    def plain(context: JobContext, line: Line) -> Line:
        context.connection.execute("select 1")
        return line

    @app.task(name="coroutine", transactional=True)
    async def coroutine(context: JobContext, line: Line) -> Line:
        await context.aconnection.execute("select 1")
        return line

    id_ = enqueue(table.connection, app.tasks[kind], Line(Decimal(1), NOON))
    work()
    table.wait(id_, "succeeded")
    assert table.row(id_)["result"] == {"price": "1", "at": NOON.isoformat()}


def test_a_result_that_does_not_fit_its_annotation_is_stored_as_it_is(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="line")
    def line() -> Line:
        return {"not": "a line"}  # type: ignore[return-value]

    @app.task(name="number")
    def number() -> int:
        return "1"  # type: ignore[return-value]

    @app.task(name="neither")
    def neither() -> Line:
        return {1, 2}  # type: ignore[return-value]

    stored = [table.add_one(name) for name in ("line", "number")]
    bad = table.add_one("neither")
    work()
    table.wait(stored, "succeeded")
    assert [table.row(id_)["result"] for id_ in stored] == [{"not": "a line"}, "1"]
    table.wait(bad, "dead")
    assert "set is not JSON-serialisable" in table.attempts(bad)[0]["message"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"when": "soon"}, "args.when: 'soon' is refused; expected a datetime as text"),
        ({"when": NOON.isoformat(), "n": "5"}, "args.n: '5' is refused; expected an integer"),
        ({}, "missing a required argument: 'when'"),
    ],
)
def test_stored_arguments_of_wrong_types_are_one_dead_job_after_one_attempt(
    app: PgQueue, table: Table, work: Work, args: dict[str, Any], words: str
) -> None:
    @app.task(name="at")
    def at(when: datetime, n: int = 0) -> None: ...

    bad = table.add_one("at", args=args)
    good = table.add_one("at", args={"when": NOON.isoformat()})
    work()
    table.wait(good, "succeeded")
    table.wait(bad, "dead")
    [attempt] = table.attempts(bad)
    assert (attempt["attempt"], attempt["error_type"]) == (1, "InvalidPayload")
    assert attempt["message"].startswith("stored arguments do not fit: ")
    assert words in attempt["message"]


def test_old_arguments_are_upgraded_step_by_step_and_then_checked(
    app: PgQueue, table: Table, work: Work
) -> None:
    def first(args: dict[str, Any]) -> dict[str, Any]:
        return {"names": [args["name"]]}

    def third(args: dict[str, Any]) -> dict[str, Any]:
        return {**args, "at": NOON.isoformat()}

    @app.task(name="greet", version=4, upgrade={1: first, 3: third})
    def greet(names: list[str], at: datetime) -> list[str]:
        return [*names, at.isoformat()]

    new = table.add_one("greet", version=4, args={"names": ["d"], "at": NOON.isoformat()})
    ids = [
        table.add_one("greet", version=1, args={"name": "a"}),
        table.add_one("greet", version=2, args={"names": ["b"]}),
        table.add_one("greet", version=3, args={"names": ["c"]}),
        new,
    ]
    broken = table.add_one("greet", version=1, args={"nmae": "a"})
    unfit = table.add_one("greet", version=2, args={"names": "b"})
    work()
    table.wait(ids, "succeeded")
    at = NOON.isoformat()
    assert [table.row(id_)["result"] for id_ in ids] == [["a", at], ["b", at], ["c", at], ["d", at]]
    assert table.row(ids[0])["args"] == {"name": "a"}
    table.wait([broken, unfit], "dead")
    message = table.attempts(broken)[0]["message"]
    assert message == "the upgrade of greet from version 1 raised KeyError: 'name'"
    message = table.attempts(unfit)[0]["message"]
    assert "(stored as version 2, the task is at 4): args.names: 'b' is refused" in message


def test_a_job_of_a_newer_version_is_given_back_at_no_cost(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="known", version=2)
    def known() -> None: ...

    newer = table.add_one("known", version=3)
    worker = work()
    wait_until(lambda: table.row(newer)["lease"] == 2, what="claimed and given back")
    row = table.row(newer)
    assert (row["state"], row["attempt"], row["worker_id"]) == ("ready", 0, None)
    assert row["run_at"] > row["started_at"]
    assert table.attempts(newer) == []
    [told] = worker.seen(events.TaskUnknown)
    assert (told.task, told.version, told.count) == ("known", 3, 1)
    table.wait(table.add("known", version=2), "succeeded")


def secret_app(keys: dict[str, str], current: str | None = None) -> PgQueue:
    codec = AesGcmCodec(keys, current=current) if keys else None
    made = PgQueue("dsn given to the worker", settings=QUICK, codec=codec, redact={"token"})

    @made.task(name="login")
    def login(context: JobContext, token: str) -> str:
        return f"{token} {sorted(context.meta)}"

    return made


def test_encrypted_arguments_and_results_are_opened_by_who_has_the_key_alone(
    table: Table, dsn: str, app: PgQueue, work: Work
) -> None:
    keyed = secret_app({"k1": KEY})
    app._tasks.update(keyed._tasks)
    id_ = enqueue(table.connection, keyed.tasks["login"], "s3cret")
    work()
    table.wait(id_, "succeeded")
    row = table.row(id_)
    assert "s3cret" not in json.dumps([row["args"], row["result"]])
    assert {name: row[name]["$pgqueue"]["kid"] for name in ("args", "result")} == {
        "args": "k1",
        "result": "k1",
    }
    with PgQueue(dsn, codec=keyed.codec) as reader:
        view = reader.job(id_)
        assert (view.args, view.result, view.meta) == ({"token": "***"}, "s3cret []", {})
    with PgQueue(dsn) as stranger:
        assert stranger.job(id_).result == row["result"]


@pytest.mark.parametrize("keys", [{}, {"k2": AesGcmCodec.generate_key()}])
def test_a_job_whose_key_is_missing_is_held_back_at_no_cost_and_told(
    app: PgQueue, table: Table, work: Work, keys: dict[str, str]
) -> None:
    sender, keyless = secret_app({"k1": KEY}), secret_app(keys)
    app._tasks.update(keyless._tasks)
    ids = [enqueue(table.connection, sender.tasks["login"], "s3cret") for _ in range(3)]
    worker = work()
    for id_ in ids:
        wait_until(lambda id_=id_: table.row(id_)["lease"] == 2, what="claimed and given back")  # type: ignore[misc]
        row = table.row(id_)
        assert (row["state"], row["attempt"], row["worker_id"]) == ("ready", 0, None)
        assert row["run_at"] > row["started_at"]
        assert table.attempts(id_) == []
    wait_until(lambda: worker.seen(events.JobsHeldBack), what="told")
    [told] = worker.seen(events.JobsHeldBack)
    assert told.task == "login"
    assert "'k1'" in told.reason
    assert "args of login" in told.reason
    assert worker.seen(events.JobFailed) == []


def test_encrypted_data_that_was_moved_to_another_task_is_a_dead_job(
    app: PgQueue, table: Table, work: Work
) -> None:
    keyed = secret_app({"k1": KEY})

    @keyed.task(name="other")
    def other(token: str) -> None: ...

    app._tasks.update(keyed._tasks)
    id_ = enqueue(table.connection, keyed.tasks["login"], "s3cret")
    table.connection.execute("update pgqueue.jobs set task = 'other' where id = %s", [id_])
    work()
    table.wait(id_, "dead")
    assert "cannot be decrypted" in table.attempts(id_)[0]["message"]
