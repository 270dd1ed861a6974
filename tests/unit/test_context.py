"""What a handler can know of its job, and that no other job's handler sees it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from pgqueue.context import JobContext, current_job, enter_job

if TYPE_CHECKING:
    import psycopg


def context(id_: int = 7) -> JobContext:
    return JobContext(id=id_, task="app.work", queue="q", attempt=1, max_attempts=8, lease=1)


def test_outside_of_a_handler_there_is_no_current_job() -> None:
    with pytest.raises(LookupError, match="outside of a job's handler"):
        contextvars.Context().run(current_job)


def test_each_asyncio_task_has_its_own_job() -> None:
    async def handler(id_: int) -> int:
        enter_job(partial(context, id_))
        await asyncio.sleep(0)
        return current_job().id

    async def run() -> list[int]:
        return list(await asyncio.gather(*(handler(id_) for id_ in range(20))))

    assert asyncio.run(run()) == list(range(20))


def test_a_job_ends_with_the_context_that_it_was_entered_in() -> None:
    def handler() -> int:
        enter_job(partial(context, 3))
        return current_job().id

    outer = contextvars.Context()
    assert outer.run(contextvars.Context().run, handler) == 3
    with pytest.raises(LookupError):
        outer.run(current_job)


def test_another_thread_sees_the_cancel() -> None:
    running = context()
    assert not running.cancelled
    setter = threading.Thread(target=running.cancel)
    setter.start()
    setter.join()
    assert running.cancelled


def test_without_a_transactional_task_there_is_no_connection_and_it_says_why() -> None:
    with pytest.raises(TypeError, match=r"context\.connection .* app\.work: declare it @app\.task"):
        _ = context().connection
    with pytest.raises(TypeError, match=r"context\.aconnection .* declare it @app\.task"):
        _ = context().aconnection


def test_each_attribute_names_the_declaration_that_it_needs() -> None:
    for name in ("session", "asession", "sa_connection", "asa_connection"):
        kind = name.removeprefix("a").removeprefix("sa_")
        with pytest.raises(TypeError, match=rf'@app\.task\(transactional="{kind}"\)'):
            getattr(context(), name)


def test_the_wrong_colour_of_connection_names_the_right_one() -> None:
    running = context()
    running.sync_connection = cast("psycopg.Connection[object]", object())
    assert running.connection is running.sync_connection
    with pytest.raises(TypeError, match=r"use context\.connection"):
        _ = running.aconnection
    running = context()
    running.async_connection = cast("psycopg.AsyncConnection[object]", object())
    assert running.aconnection is running.async_connection
    with pytest.raises(TypeError, match=r"use context\.aconnection"):
        _ = running.connection


def test_no_secret_of_a_connection_is_in_its_repr() -> None:
    running = context()
    running.sync_connection = cast("psycopg.Connection[object]", "hush")
    assert "hush" not in repr(running)


def test_progress_outside_of_a_worker_goes_nowhere() -> None:
    context().progress(1, 2, "three")


def test_progress_goes_where_the_worker_says() -> None:
    taken: list[Any] = []
    running = context()
    running.report = lambda *report: taken.append(report)
    running.progress(1)
    running.progress(2.5, 10, "a\0b\ud800" + "x" * 300)
    assert taken[0] == (1, None, None)
    assert taken[1][:2] == (2.5, 10)
    message = taken[1][2]
    assert message.startswith("a\ufffdb?x")
    assert len(message) == 200


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "5", None, True, 10**400])
def test_progress_that_is_no_number_is_refused_with_its_value(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"progress: done=.* is refused"):
        context().progress(bad)
    if bad is not None:
        with pytest.raises(ValueError, match=r"progress: total=.* is refused"):
            context().progress(1, bad)
