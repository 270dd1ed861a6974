"""Waiting for the end of jobs: what wakes, what finds, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import connections, store, waits
from pgqueue.app import PgQueue
from pgqueue.config import DSN_VARIABLES, LIBPQ_VARIABLES, Settings
from pgqueue.errors import ConfigError, ConnectionFailed, InvalidJob, JobNotFound, WaitTimeout
from tests.client.ending import ENDINGS, succeed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeJob = Callable[..., int]

LONG = 20.0


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first looks none comes for an hour: only a notification can bring an end."""
    monkeypatch.setattr(waits, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(waits, "LONGEST_PAUSE", 3600.0)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Runs calls on other threads."""
    with ThreadPoolExecutor(64) as pool:
        yield pool


def said(connection: psycopg.Connection[Any]) -> list[int]:
    """The jobs that the table says are waited for."""
    return [row[0] for row in connection.execute("select job_id from pgqueue.waits order by 1")]


def wait_said(connection: psycopg.Connection[Any], *jobs: int) -> None:
    wait_until(lambda: said(connection) == sorted(jobs), what=f"waits for {jobs}")


def listening(connection: psycopg.Connection[Any]) -> list[int]:
    """The server's processes for connections that wait."""
    query = """select pid from pg_stat_activity
        where datname = current_database() and application_name = 'pgqueue:waits'"""
    return [row[0] for row in connection.execute(query)]


def test_every_statement_that_can_end_a_job_is_tested_here() -> None:
    files = [file.name for file in resources.files("pgqueue").joinpath("sql").iterdir()]
    names = {name.removesuffix(".sql") for name in files if name.endswith(".sql")}
    final = ("'succeeded'", "'dead'", "'cancelled'", "'expired'", "next_state")
    ends = {
        name
        for name in names
        if (text := " ".join(store.statement(name).decode().split())).count("set state =")
        and any(state in text.split("set state =")[1][:120] for state in final)
    }
    assert ends == set(ENDINGS)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("no_looks")
def test_every_end_notifies_who_waits(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    aside: ThreadPoolExecutor,
    ending: str,
) -> None:
    end, state = ENDINGS[ending]
    job_id = make_job("running")
    waiting = aside.submit(app.wait, job_id, LONG)
    wait_said(connection, job_id)
    end(connection, job_id)
    assert waiting.result() == state


def test_what_came_at_the_end_of_a_pipeline_is_heard_at_once(dsn: str) -> None:
    """Behind a pooler statements are pipelines; psycopg's own notifies() misses one in fifty."""
    watcher = waits._Watcher(waits.Waits(lambda: dsn, Settings()), dsn, Settings())
    with watcher._connected() as connection:
        for number in range(500):
            with connection.pipeline():
                connection.execute("select 1")
                connection.execute("select pg_notify(%s, %s)", [waits.CHANNEL, str(number)])
            assert watcher._notified(connection) == [number]


@pytest.mark.usefixtures("no_looks")
def test_a_job_nobody_waits_for_notifies_nobody(
    connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    connection.execute(f"listen {waits.CHANNEL}".encode())
    connection.execute("insert into pgqueue.waiters values (1, now())")
    connection.execute("insert into pgqueue.waits values (-1, 1)")
    for end, _ in ENDINGS.values():
        end(connection, make_job("running"))
    assert list(connection.notifies(timeout=0)) == []


@pytest.mark.usefixtures("no_looks")
def test_a_job_that_has_ended_is_known_at_once(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    job_id = make_job("dead")
    assert app.wait(job_id, 0) == "dead"
    assert app.wait(job_id, LONG) == "dead"
    assert app.wait(job_id) == "dead"
    assert said(connection) == []


@pytest.mark.usefixtures("no_looks")
def test_an_end_between_the_look_and_the_wait_is_seen(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It notifies nobody, for nobody stands in the table yet: the look after that finds it."""
    job_id = make_job("running")
    write = waits._Watcher._write

    def end_first(watcher: Any, statement: str, **values: Any) -> None:
        if statement == "wait_register":
            succeed(connection, job_id)
        write(watcher, statement, **values)

    monkeypatch.setattr(waits._Watcher, "_write", end_first)
    assert app.wait(job_id, LONG) == "succeeded"


def test_an_end_that_could_not_see_the_wait_is_found_by_a_look(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    aside: ThreadPoolExecutor,
) -> None:
    """Its statement ran before the wait stood in the table, its commit comes after the look."""
    job_id = make_job("running")
    with connection.transaction():
        store.execute(connection, "finish_transactional", {"id": job_id, "lease": 0, "result": "7"})
        waiting = aside.submit(app.result, job_id, LONG)
        with psycopg.connect(connection.info.dsn, autocommit=True) as other:
            wait_said(other, job_id)
    assert waiting.result() == 7


def test_without_listen_an_end_is_found_by_looks(
    dsn: str, connection: psycopg.Connection[Any], make_job: MakeJob, aside: ThreadPoolExecutor
) -> None:
    job_id = make_job("running")
    with PgQueue(dsn, settings=Settings(listen=False)) as app:
        waiting = aside.submit(app.wait, job_id, LONG)
        wait_said(connection, job_id)
        succeed(connection, job_id)
        assert waiting.result() == "succeeded"


@pytest.mark.usefixtures("no_looks")
def test_many_who_wait_share_one_connection_and_leave_nothing(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    aside: ThreadPoolExecutor,
) -> None:
    jobs = [make_job("running") for _ in range(8)]
    waiting = [aside.submit(app.wait, job_id, LONG) for job_id in jobs * 6]

    async def wait_for_all() -> list[str]:
        return await asyncio.gather(*(app.await_(job_id, LONG) for job_id in jobs * 20))

    waiting_async = aside.submit(asyncio.run, wait_for_all())
    wait_said(connection, *jobs)
    assert len(listening(connection)) == 1
    for job_id in jobs:
        succeed(connection, job_id)
    assert {one.result() for one in waiting} == {"succeeded"}
    assert waiting_async.result() == ["succeeded"] * 160
    wait_said(connection)


@pytest.mark.usefixtures("no_looks")
def test_a_killed_connection_is_opened_again_and_looks_at_once(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    aside: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    connect = connections.connect

    def connect_at_the_gate(*args: Any, **options: Any) -> Any:
        assert gate.wait(LONG)
        return connect(*args, **options)

    first, second = make_job("running"), make_job("running")
    waiting = [aside.submit(app.wait, job_id, LONG) for job_id in (first, second)]
    wait_said(connection, first, second)
    monkeypatch.setattr(connections, "connect", connect_at_the_gate)
    [pid] = listening(connection)
    connection.execute("select pg_terminate_backend(%s)", [pid])
    wait_until(lambda: not listening(connection))
    succeed(connection, first)  # nobody hears of it
    gate.set()
    assert waiting[0].result() == "succeeded"
    succeed(connection, second)
    assert waiting[1].result() == "succeeded"


def test_a_wait_that_takes_too_long_harms_nothing(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    job_id = make_job()
    with pytest.raises(WaitTimeout, match=rf"job {job_id} has not ended after 0.01 s") as late:
        app.wait(job_id, 0.01)
    assert late.value.ids == (job_id,)
    assert isinstance(late.value, TimeoutError)
    with pytest.raises(WaitTimeout, match="has not ended yet"):
        app.wait(job_id, timedelta(0))
    wait_said(connection)
    assert app.job(job_id).state == "ready"


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan")])
def test_a_timeout_is_checked_before_anything_else(app: PgQueue, timeout: Any) -> None:
    with pytest.raises(InvalidJob, match="timeout: "):
        app.wait(1, timeout)


def test_a_job_whose_transaction_is_open_does_not_exist_yet(app: PgQueue, dsn: str) -> None:
    """To wait for it here would be to wait for ever: the error comes at once."""

    @app.task(name="t")
    def task() -> None: ...

    with psycopg.connect(dsn) as caller:
        handle = task.using(caller).enqueue()
        for timeout in (None, LONG, 0):
            with pytest.raises(JobNotFound, match="wait after the commit"):
                handle.wait(timeout)
        caller.commit()
        with pytest.raises(WaitTimeout):
            handle.wait(0)


def test_a_job_that_is_deleted_under_a_wait_is_not_found(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    aside: ThreadPoolExecutor,
) -> None:
    job_id = make_job("running")
    waiting = aside.submit(app.wait, job_id, LONG)
    wait_said(connection, job_id)
    connection.execute("delete from pgqueue.jobs where id = %s", [job_id])
    with pytest.raises(JobNotFound, match=f"no job has the id {job_id}"):
        waiting.result()


def test_an_async_wait_times_out_and_can_be_cancelled(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    job_id = make_job()

    async def wait() -> None:
        with pytest.raises(WaitTimeout) as late:
            await app.await_(job_id, 0.01)
        assert late.value.ids == (job_id,)
        with pytest.raises(WaitTimeout):
            await app.await_(job_id, 0)
        with pytest.raises(TimeoutError) as ours:
            await asyncio.wait_for(app.await_(job_id), 0.01)
        assert not isinstance(ours.value, WaitTimeout)

    asyncio.run(wait())
    wait_said(connection)


def test_close_ends_a_wait_and_a_later_one_begins_anew(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob, aside: ThreadPoolExecutor
) -> None:
    job_id = make_job("running")
    waiting = aside.submit(app.wait, job_id)
    wait_said(connection, job_id)
    app.close()
    with pytest.raises(ConnectionFailed, match="the app was closed"):
        waiting.result()
    assert connection.execute("select count(*) from pgqueue.waiters").fetchone() == (0,)
    assert not [one for one in threading.enumerate() if one.name == "pgqueue-waits"]
    again = aside.submit(app.wait, job_id, LONG)
    wait_said(connection, job_id)
    succeed(connection, job_id)
    assert again.result() == "succeeded"


def test_a_wait_that_meets_the_close_is_told_and_does_not_hang(
    app: PgQueue, make_job: MakeJob
) -> None:
    own = app._results._process_waits()
    own.close()
    with pytest.raises(ConnectionFailed, match="the app was closed"):
        app.wait(make_job())


def test_an_app_without_a_database_says_so_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*DSN_VARIABLES, *LIBPQ_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    with PgQueue() as app:
        with pytest.raises(ConfigError, match="no database is set"):
            app.wait(1, LONG)
        assert app._results._process_waits().next_look() is None


def test_an_idle_connection_is_closed(
    app: PgQueue,
    connection: psycopg.Connection[Any],
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "IDLE", 0.0)
    for _ in range(3):
        assert app.wait(make_job("dead"), LONG) == "dead"
        wait_until(lambda: not listening(connection), what="closed")
    assert connection.execute("select count(*) from pgqueue.waiters").fetchone() == (0,)


def test_a_database_that_does_not_answer_is_told_at_once(aside: ThreadPoolExecutor) -> None:
    with PgQueue("host=/nowhere dbname=none") as app:
        waiting = [aside.submit(app.wait, 1, timeout) for timeout in (None, LONG)]
        for one in waiting:
            with pytest.raises(ConnectionFailed, match="/nowhere"):
                one.result()


def test_a_forked_process_waits_for_itself(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob, aside: ThreadPoolExecutor
) -> None:
    ours, childs = make_job("running"), make_job("running")
    waiting = aside.submit(app.wait, ours, LONG)
    wait_said(connection, ours)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            code = 0 if app.wait(childs, LONG) == "succeeded" else 2
        finally:
            os._exit(code)
    wait_said(connection, ours, childs)
    assert len(listening(connection)) == 2
    succeed(connection, childs)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    succeed(connection, ours)
    assert waiting.result() == "succeeded"


def test_nonsense_on_the_channel_harms_nothing(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob, aside: ThreadPoolExecutor
) -> None:
    job_id = make_job("running")
    waiting = aside.submit(app.wait, job_id, LONG)
    wait_said(connection, job_id)
    for payload in ("", "x", "²", "-5", "9" * 30, str(job_id)):
        connection.execute("select pg_notify(%s, %s)", [waits.CHANNEL, payload])
    succeed(connection, job_id)
    assert waiting.result() == "succeeded"
