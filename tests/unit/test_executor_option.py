"""Where a handler runs: chosen by the function, or by its author, and refused where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError


def plain() -> None: ...


async def coroutine() -> None: ...


@pytest.fixture
def app() -> PgQueue:
    return PgQueue("postgresql://nobody@nowhere.invalid/none")


def test_the_function_decides_where_nobody_says(app: PgQueue) -> None:
    assert app.task(plain).executor == "thread"
    assert app.task(coroutine).executor == "async"


def test_what_is_asked_for_is_what_it_gets(app: PgQueue) -> None:
    task = app.task(executor="process", max_rss=512)(plain)
    assert (task.executor, task.max_rss) == ("process", 512)
    assert app.task(name="again", executor="thread")(plain).executor == "thread"
    assert app.task(executor="async")(coroutine).executor == "async"


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (coroutine, {"executor": "process"}, "'process' cannot run a coroutine function.*'async'"),
        (coroutine, {"executor": "thread"}, "'thread' cannot run a coroutine function"),
        (
            plain,
            {"executor": "async"},
            "cannot run a plain function.*'thread' or 'process'",
        ),
        (plain, {"executor": "fork"}, "executor='fork' cannot run"),
        (plain, {"executor": True}, "executor=True cannot run"),
        (plain, {"max_rss": 100}, "max_rss=100 needs executor='process'"),
        (plain, {"executor": "process", "max_rss": 0}, "max_rss=0: expected MiB from 1 to"),
        (plain, {"executor": "process", "max_rss": 1.5}, "max_rss=1.5: expected MiB"),
        (plain, {"executor": "process", "max_rss": True}, "max_rss=True: expected MiB"),
    ],
)
def test_what_cannot_work_is_refused_when_the_task_is_declared(
    app: PgQueue, function: Any, options: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        app.task(function, **options)
