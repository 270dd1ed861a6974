"""Checked, never run: each ignored line is an error that a type checker must keep finding."""

from __future__ import annotations

from typing import assert_type

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


registered: Task[[int], None] = app.task(plain)


def results_and_handles(context: JobContext) -> None:
    assert_type(resize(1), list[str])
    assert_type(charge(context, 1), str)
    assert_type(resize.enqueue(1, size="large"), JobHandle)
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


def the_context_is_not_an_argument(context: JobContext) -> None:
    charge.enqueue(1)
    charge.enqueue(context, 1)  # type: ignore[call-arg, arg-type]
    charge.enqueue("1")  # type: ignore[arg-type]
    charge(1)  # type: ignore[call-arg, arg-type]


async def wrong_arguments_of_coroutines() -> None:
    assert_type(await send("a"), int)
    assert_type(await send.aenqueue("a"), JobHandle)
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
    app.task(nmae="x")  # type: ignore[call-overload]
    app.task(dead_on=("ValueError",))  # type: ignore[arg-type]
