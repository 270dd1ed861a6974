"""Checked, never run: each ignored line is an error that a type checker must keep finding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import assert_type
from uuid import UUID

import pydantic

from pgqueue import JobContext, JobHandle, NewJob, PgQueue, Task

app = PgQueue()


@app.task
def resize(photo_id: int, size: str = "small") -> list[str]:
    return [size] * photo_id


@app.task(queue="mail", timeout=30)
async def send(to: str) -> int:
    return len(to)


@app.task(transactional=True)
def charge(context: JobContext, order_id: int) -> str:
    return f"{context.id} {order_id}"


def plain(x: int) -> None: ...


@dataclass
class Line:
    price: Decimal


class Order(pydantic.BaseModel):
    id: UUID


@app.task(version=2, upgrade={1: dict}, redact={"secret"})
def invoice(line: Line, order: Order, due: date | None = None) -> tuple[Line, Order, date | None]:
    return line, order, due


registered: Task[[int], None] = app.task(plain)


def results_and_handles(context: JobContext) -> None:
    assert_type(resize(1), list[str])
    assert_type(charge(context, 1), str)
    assert_type(resize.enqueue(1, size="large"), JobHandle[list[str]])
    assert_type(resize.enqueue(1, size="large").result(timeout=1), list[str])
    assert_type(resize.job(1), NewJob)


def wrong_arguments_of_a_task() -> None:
    resize.enqueue("1")  # type: ignore[arg-type]
    resize.enqueue(1, colour="red")  # type: ignore[call-arg]
    resize.enqueue()  # type: ignore[call-arg]
    resize.delay("1")  # type: ignore[arg-type]
    resize.job("1")  # type: ignore[arg-type]
    resize.using(None, priority=1).enqueue("1")  # type: ignore[arg-type]
    send.enqueue(1)  # type: ignore[arg-type]
    registered.enqueue("1")  # type: ignore[arg-type]


def wrong_types_of_arguments(line: Line, order: Order) -> None:
    invoice.enqueue(line, order, due=date(2026, 1, 2))
    assert_type(invoice(line, order)[1], Order)
    invoice.enqueue(line, line)  # type: ignore[arg-type]
    invoice.enqueue({"price": "1"}, order)  # type: ignore[arg-type]
    invoice.enqueue(line, order, due="2026-01-02")  # type: ignore[arg-type]
    app.enqueue(invoice, line, order)
    app.enqueue(invoice, order, line)  # type: ignore[call-overload]


def the_context_is_not_an_argument(context: JobContext) -> None:
    charge.enqueue(1)
    charge.enqueue(context, 1)  # type: ignore[call-arg, arg-type]
    charge.enqueue("1")  # type: ignore[arg-type]
    charge(1)  # type: ignore[call-arg, arg-type]


async def wrong_arguments_of_coroutines() -> None:
    assert_type(await send("a"), int)
    handle = await send.aenqueue("a")
    assert_type(await handle.aresult(), int)
    assert_type(handle.result(), int)
    await send.aenqueue(1)  # type: ignore[arg-type]
    await send.using(None).aenqueue(1)  # type: ignore[arg-type]
    await app.aenqueue(send, 1)  # type: ignore[call-overload]


def wrong_arguments_through_the_app() -> None:
    app.enqueue(resize, 1, size="large")
    app.enqueue(resize, "1")  # type: ignore[call-overload]
    app.enqueue(charge, 1)
    app.enqueue(charge, "1")  # type: ignore[call-overload]
    app.enqueue(plain, 1)
    app.enqueue(plain, "1")  # type: ignore[call-overload]


def wrong_options() -> None:
    resize.using(None, quue="mail")  # type: ignore[call-arg]
    resize.using(None, priority="high")  # type: ignore[arg-type]
    app.using(None, delay="soon")  # type: ignore[arg-type]
    app.task(upgrade={"1": dict})  # type: ignore[dict-item]
    app.task(redact=5)  # type: ignore[call-overload]
    app.task(nmae="x")  # type: ignore[call-overload]
    app.task(dead_on=("ValueError",))  # type: ignore[arg-type]
