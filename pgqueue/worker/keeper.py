"""Runs the scripts of steps and effects: in the job's own transaction, or in short ones of its own.

One for a worker's process. It needs a DSN, settings and the app's codec, and opens its connections
when the first step is run.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import tuple_row

from pgqueue import connections, store
from pgqueue.errors import StepError
from pgqueue.worker import effects
from pgqueue.worker.effects import Ask, Call, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from psycopg_pool import ConnectionPool

    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.context import JobContext
    from pgqueue.worker.effects import Script

SIZE: Final = 4
"""Connections at most: each statement takes one for the time of a round trip."""

MAX_NAME: Final = 128
MAX_KEY: Final = 512
"""Bytes of a step's name or a scope, and of an effect's key."""

LONGEST: Final = 100 * 365 * 86_400.0

ELSEWHERE: Final = (
    "the job's own transaction is that of {kind} task: call {a}step() or {a}once() in its handler, "
    "not in a thread or an event loop that it has started"
)

Rows = list[tuple[Any, ...]]


class Keeper:
    """Keeps the results of steps and effects; safe from many threads.

    Args:
        dsn: the workers' database.
        settings: the time limits of statements, and the size of results.
        codec: encrypts results.
    """

    def __init__(self, dsn: str, settings: Settings, codec: Codec | None) -> None:
        self._dsn, self._settings = dsn, settings
        self._results = Results(settings.max_result, codec)
        self._pool: ConnectionPool[Connection] | None = None
        self._opening = threading.Lock()

    def step(self, context: JobContext, name: str, call: Callable[..., Any], given: Any) -> Any:
        """See `JobContext.step`."""
        return self._run(context, self._step(context, name, Call(call, *given)))

    async def astep(
        self, context: JobContext, name: str, call: Callable[..., Any], given: Any
    ) -> Any:
        """See `JobContext.astep`."""
        return await self._arun(context, self._step(context, name, Call(call, *given)))

    def once(
        self, context: JobContext, key: str, call: Callable[..., Any], given: Any, terms: Any
    ) -> Any:
        """See `JobContext.once`."""
        return self._run(context, self._once(context, key, Call(call, given, {}), **terms))

    async def aonce(
        self, context: JobContext, key: str, call: Callable[..., Any], given: Any, terms: Any
    ) -> Any:
        """See `JobContext.aonce`."""
        return await self._arun(context, self._once(context, key, Call(call, given, {}), **terms))

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close(timeout=0.5)

    def _step(self, context: JobContext, name: str, call: Call) -> Script:
        _check_text("the name of a step", name, MAX_NAME)
        context.begin_step(name)
        return effects.step(context, name, call, self._results, inside=context.in_transaction)

    def _once(
        self,
        context: JobContext,
        key: str,
        call: Call,
        *,
        scope: str | None,
        keep: float | timedelta | None,
        wait: float | timedelta,
    ) -> Script:
        scope = context.task if scope is None else scope
        _check_text("the scope of an effect", scope, MAX_NAME)
        _check_text("the key of an effect", key, MAX_KEY)
        return effects.once(
            context,
            (scope, key),
            call,
            self._results,
            keep=None if keep is None else _seconds("keep", keep),
            wait=_seconds("wait", wait),
            inside=context.in_transaction,
        )

    def _run(self, context: JobContext, script: Script) -> Any:
        """Drive a script from a thread."""
        _refuse_event_loop()
        ask = _inside(context) or self._ask
        answer: Any = None
        failure: BaseException | None = None
        while True:
            try:
                wish = script.throw(failure) if failure is not None else script.send(answer)
            except StopIteration as ended:
                return ended.value
            answer = failure = None
            try:
                if isinstance(wish, Ask):
                    answer = ask(wish.name, wish.values)
                elif isinstance(wish, Call):
                    answer = wish.function(*wish.args, **wish.kwargs)
                else:
                    time.sleep(wish.seconds)
            except BaseException as error:  # noqa: BLE001 - the script raises it again
                failure = error

    async def _arun(self, context: JobContext, script: Script) -> Any:
        """Drive a script on the event loop."""
        ask = _ainside(context) or self._aask
        answer: Any = None
        failure: BaseException | None = None
        while True:
            try:
                wish = script.throw(failure) if failure is not None else script.send(answer)
            except StopIteration as ended:
                return ended.value
            answer = failure = None
            try:
                if isinstance(wish, Ask):
                    answer = await ask(wish.name, wish.values)
                elif isinstance(wish, Call):
                    answer = wish.function(*wish.args, **wish.kwargs)
                    answer = await answer if inspect.isawaitable(answer) else answer
                else:
                    await asyncio.sleep(wish.seconds)
            except BaseException as error:  # noqa: BLE001 - the script raises it again
                failure = error

    def _ask(self, name: str, values: Mapping[str, Any]) -> Rows:
        """In a transaction of our own."""
        with self._opened().connection() as connection:
            return store.run(connection, self._settings, name, values)

    async def _aask(self, name: str, values: Mapping[str, Any]) -> Rows:
        return await asyncio.to_thread(self._ask, name, values)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._opening:
            if self._pool is None:
                hold = store.held_limits(self._settings)
                self._pool = connections.open_pool(
                    self._dsn, self._settings, "steps", size=SIZE, hold=hold, patient=True
                )
        return self._pool


def _inside(context: JobContext) -> Callable[[str, Mapping[str, Any]], Rows] | None:
    """What runs statements in the job's own transaction, when it has one."""
    if not context.in_transaction:
        return None
    if context.own is not None and not context.own.accessor.startswith("a"):
        return context.own.run
    connection = context.sync_connection
    if connection is None:
        raise TypeError(ELSEWHERE.format(a="a", kind="an async def"))

    def ask(name: str, values: Mapping[str, Any]) -> Rows:
        cursor = store.execute(connection, name, values)
        return cursor.fetchall() if cursor.description else []

    return ask


def _ainside(context: JobContext) -> Callable[[str, Mapping[str, Any]], Any] | None:
    if not context.in_transaction:
        return None
    if context.own is not None and context.own.accessor.startswith("a"):
        return context.own.run
    connection = context.async_connection
    if connection is None:
        raise TypeError(ELSEWHERE.format(a="", kind="a plain def"))

    async def ask(name: str, values: Mapping[str, Any]) -> Rows:
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        await cursor.execute(store.statement(name), values)
        return await cursor.fetchall() if cursor.description else []

    return ask


def _refuse_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise TypeError(
        "step() and once() would block the event loop here: use await context.astep(...) or "
        "await context.aonce(...)"
    )


def _check_text(what: str, text: Any, most: int) -> None:
    if not isinstance(text, str) or "\0" in text or not 1 <= len(text.encode()) <= most:
        raise StepError(f"{what} is {text!r}: expected a text of 1 to {most} bytes, without NUL")


def _seconds(name: str, value: Any) -> float:
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise StepError(f"{name}={value!r}: expected seconds, or a timedelta")
    if not 0 <= seconds <= LONGEST:
        raise StepError(f"{name}={value!r}: expected 0 to {LONGEST:g} seconds")
    return float(seconds)
