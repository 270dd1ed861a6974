"""Tasks of the framework, of every kind."""

from __future__ import annotations

from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection

from pgqueue import Dead
from pgqueue.contrib.django import app, job_options
from tests.contrib.django.store.decorator import task
from tests.contrib.django.store.models import Item


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task(queue_name="mail", priority=7)
def send(to: str, **more: Any) -> dict[str, Any]:
    return {"to": to, **more}


@task
async def add_async(a: int, b: int) -> int:
    return a + b


@task
async def count_items() -> int:
    return int(await Item.objects.acount())


@task(takes_context=True)
def look(context: Any, name: str) -> dict[str, Any]:
    result = context.task_result
    return {
        "id": result.id,
        "attempt": context.attempt,
        "status": result.status,
        "enqueued": result.enqueued_at.isoformat(),
        "name": name,
        "errors": len(result.errors),
    }


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
async def fail_async(message: str) -> None:
    raise ValueError(message)


@task
def give_up() -> None:
    raise Dead("no use")


@task
def return_a_set() -> Any:
    return {1}


@task
def leave() -> None:
    raise SystemExit(3)


@task(backend="patient", takes_context=True)
def fail_once(context: Any) -> int:
    if context.attempt == 1:
        raise ValueError("not yet")
    return int(context.attempt)


@job_options(dead_on=(KeyError,))
@task(backend="patient")
def fail_for_good() -> None:
    raise KeyError("no such thing")


@task
def break_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")


@task
def backend_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return int(cursor.fetchone()[0])


@job_options(transactional=True)
@task
def write(name: str) -> str:
    return str(Item.objects.create(name=name).name)


@job_options(transactional=True)
@task
def write_and_fail(name: str) -> None:
    Item.objects.create(name=name)
    raise ValueError(name)


@job_options(transactional=True)
@task(takes_context=True)
def write_and_lose(context: Any, name: str) -> None:
    Item.objects.create(name=name)
    with psycopg.connect(app.dsn) as other:  # an operator, or a rescue, ends the lease
        other.execute(
            "update pgqueue.jobs set state = 'cancelled', lease = lease + 1 where id = %s",
            [context.task_result.id],
        )


@task
async def backend_pid_async() -> int:
    return int(await sync_to_async(backend_pid.func)())


@task(backend="elsewhere")
def elsewhere() -> str:
    return "there"


@app.task(max_attempts=1)
def own(name: str) -> str:
    return str(Item.objects.create(name=name).name)


@app.task(max_attempts=1)
async def own_async(name: str) -> str:
    return str((await Item.objects.acreate(name=name)).name)
