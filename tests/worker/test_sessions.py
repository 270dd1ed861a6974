"""What only sessions have: the user's own factory, other databases, handlers that end it early."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.conninfo
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from pgqueue.context import JobContext
from pgqueue.errors import ConfigError
from pgqueue.telemetry import events
from tests.waiting import wait_until
from tests.worker.transacting import EFFECTS, KINDS, Effect, own, task_name, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]

ORM = ["session", "asession", "sa_connection", "asa_connection"]
URL = "postgresql+psycopg://"


@pytest.fixture(autouse=True)
def _effects(connection: psycopg.Connection) -> None:
    connection.execute(EFFECTS)


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    engine = create_engine(URL, creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    yield engine
    engine.dispose()


def effects(table: Table) -> int:
    row = table.connection.execute("select count(*) from effects").fetchone()
    assert row is not None
    return int(row[0])


INSERT = text("insert into effects values (:job_id, 1, 1)")


def define(
    app: PgQueue, name: str, end: Callable[[Any], Any], *, caught: bool = False, task: str = ""
) -> None:
    """A task that writes, ends its transaction by `end`, and goes on, as if nothing had been."""
    kind = KINDS[name]
    errors: tuple[type[Exception], ...] = (Exception,) if caught else ()

    def plain(context: JobContext) -> None:
        handle = own(context)
        handle.execute(INSERT, {"job_id": context.id})
        with contextlib.suppress(*errors):
            end(handle)

    async def coroutine(context: JobContext) -> None:
        handle = own(context)
        await handle.execute(INSERT, {"job_id": context.id})
        with contextlib.suppress(*errors):
            await end(handle)

    function: Any = coroutine if kind.is_async else plain
    app.task(name=task or task_name(name), transactional=kind.transactional)(function)


ENDS: dict[str, Callable[[Any], Any]] = {
    "commit": lambda handle: handle.commit(),
    "rollback": lambda handle: handle.rollback(),
    "sql_commit": lambda handle: handle.execute(text("commit")),
    "sql_rollback": lambda handle: handle.execute(text("rollback")),
}


@pytest.mark.parametrize("kind", ORM)
def test_a_handler_that_ends_its_transaction_fails_and_says_why(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    """Nothing is ever half done: but for a COMMIT in plain SQL, which no driver looks at."""
    cases = {f"{end}.{caught}": (end, caught) for end in ENDS for caught in (False, True)}
    for task, (end, caught) in cases.items():
        define(app, kind, ENDS[end], caught=caught, task=task)
    ids = {task: table.add_one(task, max_attempts=1) for task in cases}
    work()
    table.wait(ids.values(), "dead")
    for task, id_ in ids.items():
        [attempt] = table.attempts(id_)
        assert attempt["error_type"] == "TransactionEnded", task
        assert "begin_nested()" in attempt["message"], task
    assert not table.connection.execute(
        "select from pg_stat_activity where datname = current_database() and state ~ 'transaction'"
    ).fetchall()
    left = table.connection.execute("select job_id from effects order by 1").fetchall()
    assert [id_ for (id_,) in left] == [id_ for task, id_ in ids.items() if "sql_commit" in task]


def test_psycopg_sees_a_commit_in_plain_sql_too(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain", transactional=True)
    def plain(context: JobContext) -> None:
        context.connection.execute("commit")

    id_ = table.add_one("plain", max_attempts=1)
    work()
    table.wait(id_, "dead")
    assert table.attempts(id_)[0]["error_type"] == "TransactionEnded"


def test_psycopg_refuses_commit(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="plain", transactional=True)
    def plain(context: JobContext) -> None:
        context.connection.execute("insert into effects values (1, 1, 1)")
        context.connection.commit()

    @app.task(name="coroutine", transactional=True)
    async def coroutine(context: JobContext) -> None:
        await context.aconnection.execute("insert into effects values (1, 1, 1)")
        await context.aconnection.commit()

    ids = [table.add_one(name, max_attempts=1) for name in ("plain", "coroutine")]
    work()
    table.wait(ids, "dead")
    assert {table.attempts(id_)[0]["error_type"] for id_ in ids} == {"psycopg.ProgrammingError"}
    assert effects(table) == 0


def test_a_savepoint_of_the_handler_may_fail(
    app: PgQueue, table: Table, work: Work, engine: Engine
) -> None:
    app.sessions = sessionmaker(engine)

    @app.task(name="session", transactional="session")
    def session(context: JobContext) -> None:
        with pytest.raises(ValueError, match="no"), context.session.begin_nested():  # noqa: PT012
            context.session.add(Effect(job_id=1, lease=1, attempt=1))
            context.session.flush()
            raise ValueError("no")
        with context.session.begin_nested():
            context.session.add(Effect(job_id=2, lease=1, attempt=1))

    id_ = table.add_one("session")
    work()
    table.wait(id_, "succeeded")
    assert table.connection.execute("select job_id from effects").fetchall() == [(2,)]


def test_the_users_own_class_options_and_events_apply(
    app: PgQueue, table: Table, work: Work, engine: Engine
) -> None:
    seen: list[object] = []

    class Own(Session):
        pass

    factory = sessionmaker(engine, class_=Own, autobegin=False, info={"of": "mine"})
    event.listen(factory, "before_commit", lambda session: seen.append(session.info["of"]))
    app.sessions = factory

    @app.task(name="session", transactional="session")
    def session(context: JobContext) -> None:
        write(context, KINDS["session"])
        seen.append(isinstance(context.session, Own))

    id_ = table.add_one("session")
    work()
    table.wait(id_, "succeeded")
    assert seen == [True, "mine"]
    assert effects(table) == 1


def test_a_scoped_session_is_the_one_that_the_handler_finds_in_its_registry(
    app: PgQueue, table: Table, work: Work, engine: Engine
) -> None:
    app.sessions = registry = scoped_session(sessionmaker(engine))

    @app.task(name="session", transactional="session")
    def session(context: JobContext) -> bool:
        write(context, KINDS["session"])
        return registry() is context.session

    id_ = table.add_one("session")
    work()
    table.wait(id_, "succeeded")
    assert table.row(id_)["result"] is True


@pytest.mark.parametrize("kind", ORM)
def test_the_last_word_of_progress_commits_with_the_job(
    app: PgQueue, table: Table, work: Work, kind: str
) -> None:
    def plain(context: JobContext) -> None:
        context.progress(3, 10, "on its way")

    async def coroutine(context: JobContext) -> None:
        context.progress(3, 10, "on its way")

    declared = KINDS[kind]
    function: Any = coroutine if declared.is_async else plain
    app.task(name=kind, transactional=declared.transactional)(function)
    id_ = table.add_one(kind)
    work()
    table.wait(id_, "succeeded")
    said = table.connection.execute("select job_id, done, total, message from pgqueue.progress")
    assert said.fetchall() == [(id_, 3, 10, "on its way")]


def held_back(table: Table, worker: Running, id_: int) -> str:
    """Why a job was given back; it cost the job nothing."""
    wait_until(lambda: worker.seen(events.JobsHeldBack), what="the worker says why")
    row = table.row(id_)
    assert (row["state"], row["attempt"]) == ("ready", 0)
    assert effects(table) == 0
    return str(worker.seen(events.JobsHeldBack)[0].reason)


@pytest.mark.parametrize("kind", ["session", "asession"])
def test_a_session_of_another_database_is_refused_by_name(
    app: PgQueue,
    table: Table,
    work: Work,
    databases: Any,
    template: str,
    kind: str,
) -> None:
    """It has the schema, and a job with the same id and lease: a copy, as in staging."""
    with databases.fresh(template) as elsewhere:
        app.sessions = sessionmaker(
            create_engine(URL, creator=lambda: psycopg.connect(elsewhere), poolclass=NullPool)
        )

        async def connect() -> Any:
            return await psycopg.AsyncConnection.connect(elsewhere)

        app.asessions = async_sessionmaker(
            create_async_engine(URL, async_creator=connect, poolclass=NullPool)
        )
        define(app, kind, lambda _: None)
        id_ = table.add_one(kind)
        worker = work()
        reason = held_back(table, worker, id_)
    assert "not the one that this worker serves" in reason
    assert str(psycopg.conninfo.conninfo_to_dict(elsewhere)["dbname"]) in reason


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "autocommit": ({"isolation_level": "AUTOCOMMIT"}, {}, "AUTOCOMMIT"),
    "two phases": ({}, {"twophase": True}, "twophase=True"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_session_that_cannot_commit_both_at_once_is_refused(
    app: PgQueue, table: Table, work: Work, dsn: str, what: str
) -> None:
    of_engine, of_session, reason = REFUSED[what]
    engine = create_engine(
        URL, creator=lambda: psycopg.connect(dsn), poolclass=NullPool, **of_engine
    )
    app.sessions = sessionmaker(engine, **of_session)
    define(app, "session", lambda _: None)
    id_ = table.add_one("session")
    assert reason in held_back(table, work(), id_)


def test_a_second_engine_in_one_session_is_refused(
    app: PgQueue, table: Table, work: Work, engine: Engine, dsn: str
) -> None:
    other = create_engine(URL, creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    app.sessions = sessionmaker(engine, binds={Effect: other})

    @app.task(name="session", transactional="session")
    def session(context: JobContext) -> None:
        write(context, KINDS["session"])

    id_ = table.add_one("session", max_attempts=1)
    work()
    table.wait(id_, "dead")
    assert "second engine" in table.attempts(id_)[0]["message"]
    assert effects(table) == 0


def test_the_context_names_what_the_task_has(app: PgQueue, table: Table, work: Work) -> None:
    @app.task(name="session", transactional="session")
    def session(context: JobContext) -> list[str]:
        said = []
        for name in ("connection", "asession", "sa_connection"):
            with pytest.raises(TypeError) as caught:
                getattr(context, name)
            said.append(str(caught.value))
        return said

    @app.task(name="none")
    def none(context: JobContext) -> None:
        _ = context.session

    ids = [table.add_one("session"), table.add_one("none", max_attempts=1)]
    work()
    table.wait(ids[0], "succeeded")
    assert all("use context.session" in said for said in table.row(ids[0])["result"])
    table.wait(ids[1], "dead")
    assert '@app.task(transactional="session")' in table.attempts(ids[1])[0]["message"]


@pytest.mark.parametrize("wrong", ["orm", 1, None, "psycopg"])
def test_a_task_says_something_that_is_known(app: PgQueue, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="expected one of"):
        app.task(name="wrong", transactional=wrong)(held_back)
