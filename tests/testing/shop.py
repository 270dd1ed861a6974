"""The tasks of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue.context import JobContext, current_job
from pgqueue.errors import Cancel, Dead, Retry, Snooze
from pgqueue.retry import fixed

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.tasks import Task


@dataclass
class Shop:
    """An app, its tasks by name, and what they did."""

    app: PgQueue
    tasks: dict[str, Task[..., Any]]
    done: list[Any]

    def __getattr__(self, name: str) -> Task[..., Any]:
        try:
            return self.tasks[name]
        except KeyError:
            raise AttributeError(name) from None


def declare(app: PgQueue) -> Shop:
    """The shop's tasks, in an app."""
    done: list[Any] = []

    def note(word: str, day: date | None = None) -> str:
        done.append(word if day is None else (word, day))
        return word.upper()

    async def anote(word: str) -> int:
        done.append(word)
        return current_job().id

    def fail(message: str) -> None:
        done.append(message)
        raise ValueError(message)

    def say(what: str) -> None:
        words = {
            "retry": Retry(after=5),
            "snooze": Snooze(60),
            "dead": Dead("no"),
            "cancel": Cancel(),
        }
        raise words[what]

    def charge(ctx: JobContext, order_id: int, fails: bool = False) -> None:
        ctx.connection.execute("update orders set paid = true where id = %s", [order_id])
        note_task.using(ctx.connection).enqueue(word=f"receipt {order_id}")
        if fails:
            raise ValueError("card refused")

    async def acharge(ctx: JobContext, order_id: int) -> None:
        await ctx.aconnection.execute("update orders set paid = true where id = %s", [order_id])

    def echo(value: Any) -> Any:
        return value

    note_task = app.task(name="shop.note")(note)
    tasks: dict[str, Task[..., Any]] = {
        "note": note_task,
        "anote": app.task(name="shop.anote")(anote),
        "fail": app.task(name="shop.fail", max_attempts=3, retry=fixed(30))(fail),
        "say": app.task(name="shop.say")(say),
        "charge": app.task(name="shop.charge", transactional=True)(charge),
        "acharge": app.task(name="shop.acharge", transactional=True)(acharge),
        "echo": app.task(name="shop.echo")(echo),
    }
    return Shop(app, tasks, done)


def paid(connection: psycopg.Connection[Any]) -> list[int]:
    """The orders that are paid."""
    return [id_ for (id_,) in connection.execute("select id from orders where paid order by id")]
