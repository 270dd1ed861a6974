"""Each kind of role can do its work, and nothing more."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgqueue import grants
from pgqueue.app import PgQueue
from pgqueue.cli import main
from pgqueue.config import Settings
from pgqueue.context import JobContext
from pgqueue.errors import ConfigError, EnqueueError
from pgqueue.job import NewJob
from pgqueue.schema import metadata
from pgqueue.telemetry.events import Events
from pgqueue.views import JobFilter
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import Databases, Server

DENIED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def roles(server: Server) -> Iterator[dict[str, str]]:
    """Roles with names that must be quoted; they own nothing."""
    names = {
        kind: f'pgqueue test"{kind} {secrets.token_hex(4)}'
        for kind in ("reader", "producer", "waiter", "worker")
    }
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        for name in names.values():
            admin.execute(f"create role {grants.quoted(name)} login password 'secret'".encode())
        yield names
        for name in names.values():
            admin.execute(f"drop role {grants.quoted(name)}".encode())


@pytest.fixture(scope="module")
def granted(roles: dict[str, str], databases: Databases, template: str) -> Iterator[str]:
    """A database in which the command's output was run, with a job in it."""
    with databases.fresh(template) as dsn:
        with psycopg.connect(dsn, autocommit=True) as owner:
            for kind, name in roles.items():
                statements = getattr(grants, kind)(name)
                owner.execute("\n".join(statements).encode())
            owner.execute("""select pgqueue.enqueue('{"task": "t", "args": {"secret": 1}}')""")
        yield dsn


@pytest.fixture
def connect(granted: str, roles: dict[str, str]) -> Iterator[Callable[[str], psycopg.Connection]]:
    made: list[psycopg.Connection] = []

    def as_role(kind: str) -> psycopg.Connection:
        dsn = make_conninfo(granted, user=roles[kind], password="secret")
        made.append(psycopg.connect(dsn, autocommit=True))
        return made[-1]

    yield as_role
    for connection in made:
        connection.close()


def refuse(connection: psycopg.Connection[Any], *statements: str) -> None:
    for statement in statements:
        with pytest.raises(DENIED):
            connection.execute(statement.encode())


def test_a_reader_sees_everything_but_what_jobs_carry(connect: Any) -> None:
    reader = connect("reader")
    for view in grants.VIEWS:
        reader.execute(f"select * from pgqueue.{view}".encode()).fetchall()
    with PgQueue(reader.info.dsn + " password=secret") as app:
        assert app.inspector.status().queues[0].queue == "default"
    for column in ("args", "meta", "result", "key", "key_scope"):
        refuse(reader, f"select {column} from pgqueue.jobs")
    refuse(
        reader,
        "select message from pgqueue.attempts",
        "select traceback from pgqueue.attempts",
        "select * from pgqueue.idempotency_keys",
        "select result from pgqueue.checkpoints",
        "select result from pgqueue.effects",
        "select key from pgqueue.effects",
    )


def test_a_reader_writes_nothing(connect: Any) -> None:
    refuse(
        connect("reader"),
        """select pgqueue.enqueue('{"task": "t"}')""",
        "insert into pgqueue.jobs (task) values ('t')",
        "update pgqueue.jobs set state = 'cancelled'",
        "delete from pgqueue.jobs",
        "select nextval('pgqueue.jobs_id_seq')",
        "select id from pgqueue.jobs for update",
        "truncate pgqueue.jobs",
        "create table pgqueue.mine ()",
    )


def test_a_producer_enqueues_in_every_way(connect: Any) -> None:
    producer = connect("producer")
    with PgQueue() as app:
        bound = app.using(producer)
        jobs = [NewJob(task="t", key=key, unique_for=60) for key in ("a", "b", "a")]
        assert [made.created for made in bound.enqueue_many(jobs)] == [True, True, False]
        assert [made.created for made in bound.enqueue_many(jobs[:1])] == [False]
        assert bound.copy_jobs([NewJob(task="t", delay=5), NewJob(task="t")]) == 2


def test_a_producer_does_nothing_else(connect: Any) -> None:
    refuse(
        connect("producer"),
        "select args from pgqueue.jobs",
        "update pgqueue.jobs set priority = 100",
        "update pgqueue.jobs set state = 'succeeded'",
        "delete from pgqueue.jobs",
        "insert into pgqueue.jobs (task, state) values ('t', 'succeeded')",
        "insert into pgqueue.jobs (task, lease) values ('t', 7)",
        "insert into pgqueue.jobs (task, result) values ('t', '1')",
        "select id from pgqueue.jobs for update",
        "delete from pgqueue.idempotency_keys",
        "insert into pgqueue.sleepers values ('default', 1)",
        "select * from pgqueue.workers",
        "select * from pgqueue.job_overview",
        "truncate pgqueue.jobs",
        "create table pgqueue.mine ()",
    )


def test_a_waiter_waits_for_results_and_sees_no_arguments(connect: Any, granted: str) -> None:
    waiter = connect("waiter")
    with PgQueue(waiter.info.dsn + " password=secret") as app:
        handle = app.using().enqueue_many([NewJob(task="waited.for", queue="waited")])[0]
        answers = app._results._process_waits().watch([handle.id])
        with psycopg.connect(granted, autocommit=True) as owner:
            wait_until(lambda: owner.execute("select from pgqueue.waits").fetchall())
            owner.execute(
                "update pgqueue.jobs set state = 'succeeded', result = '7' where id = %s",
                [handle.id],
            )
            owner.execute("select pg_notify('pgqueue_finished', %s)", [str(handle.id)])
        assert answers[handle.id].result(10) is not None
        assert handle.result(timeout=10) == handle.result(timeout=0) == 7
    refuse(
        waiter,
        "select old_args from pgqueue.attempts",
        "select args from pgqueue.jobs",
        "update pgqueue.jobs set result = '8'",
        "delete from pgqueue.jobs",
    )


def test_a_worker_runs_jobs_and_its_handlers_enqueue(connect: Any, granted: str) -> None:
    dsn = connect("worker").info.dsn + " password=secret"
    app = PgQueue(dsn)
    done: list[str] = []

    @app.task(name="second")
    def second() -> str:
        done.append("second")
        return "done"

    @app.task(name="first", max_attempts=2, retry=lambda _: 0)
    def first(context: JobContext) -> None:
        context.step("step", done.append, "step")
        context.once("effect", done.append, "effect")
        done.append("first")
        if context.attempt > 1:
            second.enqueue()
        raise LookupError("again")

    with psycopg.connect(granted, autocommit=True) as owner:
        owner.execute("truncate pgqueue.jobs")
        owner.execute("""select pgqueue.enqueue('{"task": "first", "max_attempts": 2}')""")
        quick = Settings(threads=2, poll_interval=0.2)
        events = Events(lambda _: None)
        worker = Worker(app, dsn=dsn, settings=quick, queues=["default"], emit=events)
        states = "select array_agg(state order by id) = '{dead,succeeded}' from pgqueue.jobs"
        run_until(worker, lambda: owner.execute(states).fetchone() == (True,))
    assert done == ["step", "effect", "first", "first", "second"]
    dead = list(app.inspector.ids(JobFilter(states=["dead"])))
    assert app.operator.requeue(dead).done
    assert app.operator.cancel(dead).done
    assert app.operator.delete(dead).done
    app.close()


def test_a_worker_does_not_change_what_a_job_is(connect: Any) -> None:
    refuse(
        connect("worker"),
        "update pgqueue.jobs set args = '{}'",
        "update pgqueue.jobs set task = 'other'",
        "update pgqueue.jobs set queue = 'other'",
        "update pgqueue.jobs set max_attempts = 1",
        "insert into pgqueue.jobs (task, state) values ('t', 'succeeded')",
        "truncate pgqueue.jobs",
        "update pgqueue.alembic_version set version_num = 'x'",
        "create table pgqueue.mine ()",
    )


def test_a_role_without_grants_may_do_nothing(dsn: str) -> None:
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"create role {name} login password 'secret'".encode())
        try:
            with psycopg.connect(dsn, user=name, password="secret", autocommit=True) as stranger:
                refuse(stranger, "select * from pgqueue.job_overview", "select 1 from pgqueue.jobs")
                with PgQueue() as app, pytest.raises(EnqueueError, match="may not enqueue"):
                    app.using(stranger).enqueue_many([NewJob(task="t")])
        finally:
            owner.execute(f"drop role {name}".encode())


def test_every_table_is_thought_of() -> None:
    statements = " ".join(grants.reader("r") + grants.producer("p"))
    statements += " ".join(grants.waiter("a") + grants.worker("w"))
    assert [table.name for table in metadata.sorted_tables if table.name not in statements] == []


def test_the_command_prints_what_is_tested_here(capsys: Any) -> None:
    assert main(["migrate", "grants", "--producer", "shop", "--producer", 'o"dd']) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [*grants.producer("shop"), *grants.producer('o"dd')]
    assert 'to "o""dd";' in printed[-1]
    assert main(["migrate", "grants"]) == 2
    assert "name a role" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_a_name_that_no_role_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a role"):
        grants.reader(name)


def run_until(worker: Worker, condition: Callable[[], bool]) -> None:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(condition, what="the end of the jobs")
    finally:
        worker.stop()
        thread.join()
