import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI, Request

from pgqueue import ConnectionFailed, PgQueue, SchemaError, Settings
from pgqueue.contrib.fastapi import worker
from tests.contrib.serving import listening, program, served
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
QUICK = Settings(heartbeat=0.2, ttl=5.0, poll_interval=0.2, shutdown_timeout=5.0)


@pytest.fixture
def app(dsn: str) -> PgQueue:
    return PgQueue(dsn, settings=QUICK)


def state_of(connection: psycopg.Connection[Any], job: int) -> str:
    row = connection.execute("select state from pgqueue.jobs where id = %s", [job]).fetchone()
    assert row is not None
    return str(row[0])


def workers(connection: psycopg.Connection[Any]) -> list[tuple[int, int]]:
    return connection.execute("select id, pid from pgqueue.workers order by id").fetchall()


def test_the_worker_lives_inside_of_the_lifespan_that_is_your_own(
    app: PgQueue, connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, int]] = []

    @asynccontextmanager
    async def own(_api: FastAPI) -> AsyncIterator[dict[str, Any]]:
        seen.append(("opened", len(workers(connection))))
        yield {"greeting": "hello"}
        seen.append(("closed", len(workers(connection))))

    @app.task(name="greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    api = FastAPI(lifespan=worker(app, lifespan=own))

    @api.post("/greet")
    async def route(request: Request, name: str) -> dict[str, Any]:
        job = await greet.aenqueue(name)
        return {"id": job.id, "state": request.state.greeting}

    with served(api) as client:
        assert [pid for _, pid in workers(connection)] == [os.getpid()]
        answer = client.post("/greet?name=you").json()
        wait_until(lambda: state_of(connection, answer["id"]) == "succeeded", what="it ran")
    assert answer["state"] == "hello"
    assert seen == [("opened", 0), ("closed", 0)]
    assert app.job(answer["id"]).result == "hello you"
    assert "processes of this server" not in caplog.text
    app.close()


def test_a_handler_that_runs_when_the_server_stops_may_end(
    app: PgQueue, connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    started, may_end = threading.Event(), threading.Event()

    @app.task(name="slow")
    def slow() -> str:
        started.set()
        assert may_end.wait(20)
        return "done"

    def let_it_end_once_the_worker_stops() -> None:
        wait_until(lambda: "stops: claims nothing more" in caplog.text, what="the worker stops")
        may_end.set()

    with caplog.at_level("INFO", "pgqueue"), served(FastAPI(lifespan=worker(app))):
        job = slow.enqueue()
        assert started.wait(10)
        thread = threading.Thread(target=let_it_end_once_the_worker_stops)
        thread.start()
    thread.join()
    assert state_of(connection, job.id) == "succeeded"
    app.close()


def test_a_worker_that_was_taken_for_dead_is_followed_by_a_new_one(
    app: PgQueue, connection: psycopg.Connection[Any]
) -> None:
    task = app.task(name="noop")(lambda: None)
    with served(FastAPI(lifespan=worker(app))):
        [(first, _)] = workers(connection)
        connection.execute("delete from pgqueue.workers")
        wait_until(
            lambda: [each for each, _ in workers(connection) if each != first],
            what="another worker is registered",
        )
        job = task.enqueue()
        wait_until(lambda: state_of(connection, job.id) == "succeeded", what="it ran")
    assert workers(connection) == []
    app.close()


async def start(app: PgQueue) -> None:
    async with worker(app)(FastAPI()):
        raise AssertionError("it started")


def test_a_server_without_the_schema_does_not_start(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="pgqueue migrate"):
        asyncio.run(start(PgQueue(empty_dsn)))


def test_a_server_without_a_database_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match=str(tmp_path)):
        asyncio.run(start(PgQueue(f"host={tmp_path} dbname=none")))


def test_several_processes_of_one_server_are_warned_of(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    server = "uvicorn", "tests.contrib.fastapi.with_worker:api", "--workers", "2"
    with (
        listening() as sock,
        program(
            *server,
            "--fd",
            str(sock.fileno()),
            cwd=ROOT,
            environ={"PGQUEUE_DATABASE_URL": dsn},
            fds=(sock.fileno(),),
        ) as running,
    ):
        wait_until(lambda: "2 processes of this server" in running.said(), 30, "the warning")
        assert len(workers(connection)) == 2
        assert running.terminate() == 0
    assert workers(connection) == []
