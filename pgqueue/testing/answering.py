"""Answers what the rules of testing ask for, through a test's connection, until they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pgqueue.testing.asking import Run, Tell
from pgqueue.testing.performing import aperform, perform

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pgqueue.app import PgQueue
    from pgqueue.testing.asking import Asking
    from pgqueue.testing.async_hosts import AsyncHost
    from pgqueue.testing.hosts import Host

T = TypeVar("T")


def answered(app: PgQueue, host: Host, asking: Asking[T]) -> T:
    """What the rules return, through a synchronous connection."""
    __tracebackhide__ = True
    answer: Any = None
    while True:
        try:
            asked = asking.send(answer)
        except StopIteration as done:
            value: T = done.value
            return value
        if isinstance(asked, Run):
            answer = perform(app, host, asked.attempt)
        elif isinstance(asked, Tell):
            answer = _told(host, asked)
        else:
            answer = host.rows(asked.sql)


async def aanswered(app: PgQueue, host: AsyncHost, asking: Asking[T]) -> T:
    """As `answered`, on an event loop."""
    __tracebackhide__ = True
    answer: Any = None
    while True:
        try:
            asked = asking.send(answer)
        except StopIteration as done:
            value: T = done.value
            return value
        if isinstance(asked, Run):
            answer = await aperform(app, host, asked.attempt)
        elif isinstance(asked, Tell):
            answer = await _atold(asked)
        else:
            answer = await host.rows(asked.sql)


def _told(host: Host, asked: Tell) -> BaseException | None:
    try:
        answer = asked.hook(asked.event)
        if hasattr(answer, "__await__"):
            host.complete(_awaited(answer))
    except Exception as error:  # noqa: BLE001 - a hook is the user's code
        return error
    return None


async def _atold(asked: Tell) -> BaseException | None:
    try:
        answer = asked.hook(asked.event)
        if hasattr(answer, "__await__"):
            await answer
    except Exception as error:  # noqa: BLE001 - as above
        return error
    return None


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
