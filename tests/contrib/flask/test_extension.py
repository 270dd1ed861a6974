from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from flask import Flask, abort, current_app, g, has_app_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, make_url
from sqlalchemy.pool import NullPool

from pgqueue import ConfigError, Dead, JobContext, PgQueue, Settings, UnknownTask
from pgqueue.contrib.flask import PgQueueFlask
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Running
from tests.worker.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def flask_app(dsn: str) -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = dsn.replace("postgresql:", "postgresql+psycopg:")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    return app


@pytest.fixture
def db(flask_app: Flask, connection: psycopg.Connection[Any]) -> SQLAlchemy:
    connection.execute("create table users (id int primary key, name text)")
    return SQLAlchemy(flask_app)


@pytest.fixture
def queue(flask_app: Flask) -> Iterator[PgQueueFlask]:
    with PgQueueFlask(flask_app, settings=QUICK) as queue:
        yield queue


@pytest.fixture
def table(connection: psycopg.Connection[Any]) -> Table:
    return Table(connection)


@pytest.fixture
def work(queue: PgQueueFlask, dsn: str) -> Iterator[Callable[[], Running]]:
    running: list[Running] = []

    def start() -> Running:
        running.append(Running(queue, dsn, queue.settings, ["default"]))
        wait_until(lambda: running[0].worker.worker_id or running[0].error, what="registered")
        return running[0]

    yield start
    for one in running:
        one.stop()


def names(connection: psycopg.Connection[Any]) -> list[str]:
    return [name for (name,) in connection.execute("select name from users order by id")]


def other() -> None:
    """Do nothing, and be registered late."""


def test_a_request_enqueues_through_the_session_and_commits_both_or_neither(
    flask_app: Flask, db: SQLAlchemy, queue: PgQueueFlask, table: Table
) -> None:
    @queue.task(name="welcome")
    def welcome(name: str) -> None:
        """Say hello."""

    @flask_app.post("/users/<int:id>")
    def add(id: int) -> str:
        db.session.execute(db.text("insert into users values (:id, 'somebody')"), {"id": id})
        welcome.using(db.session).enqueue("somebody")
        if id == 1:
            abort(409)
        db.session.commit()
        return "added"

    client = flask_app.test_client()
    assert client.post("/users/1").status_code == 409
    assert (names(table.connection), table.count("true")) == ([], 0)
    assert client.post("/users/2").status_code == 200
    assert (names(table.connection), table.count("true")) == (["somebody"], 1)


def test_a_handler_runs_in_the_application_and_its_session_ends_with_the_job(
    flask_app: Flask,
    db: SQLAlchemy,
    queue: PgQueueFlask,
    table: Table,
    work: Callable[[], Running],
) -> None:
    removed: list[bool] = []

    @flask_app.teardown_appcontext
    def note(error: BaseException | None) -> None:
        removed.append(error is None)

    @queue.task(name="write")
    def write(id: int, *, commit: bool) -> str:
        assert not hasattr(g, "seen")
        g.seen = True
        db.session.execute(db.text("insert into users values (:id, 'w')"), {"id": id})
        if commit:
            db.session.commit()
        return current_app.name

    @queue.task(name="fail")
    def fail() -> None:
        db.session.execute(db.text("insert into users values (9, 'lost')"))
        raise Dead("on purpose")

    @queue.task(name="write_async")
    async def write_async(context: JobContext) -> str:
        assert context.task == "write_async"
        return current_app.name

    work()
    jobs = [write.enqueue(1, commit=True), write.enqueue(2, commit=False), write_async.enqueue()]
    failed = fail.enqueue()
    table.wait([job.id for job in jobs], "succeeded")
    table.wait(failed.id, "dead")
    assert {table.row(job.id)["result"] for job in jobs} == {flask_app.name}
    assert names(table.connection) == ["w"]
    assert sorted(removed) == [False, True, True, True]


def test_a_transactional_handler_has_both_contexts(
    queue: PgQueueFlask, db: SQLAlchemy, table: Table, work: Callable[[], Running]
) -> None:
    @queue.task(name="transactional", transactional=True)
    def transactional(context: JobContext) -> str:
        context.connection.execute("insert into users values (1, %s)", [current_app.name])
        return str(db.session.execute(db.text("select 'beside'")).scalar())

    work()
    job = transactional.enqueue()
    table.wait(job.id, "succeeded")
    assert table.row(job.id)["result"] == "beside"
    assert names(table.connection) == [__name__]


def test_a_task_that_is_called_directly_shares_the_callers_context(
    flask_app: Flask, db: SQLAlchemy, queue: PgQueueFlask
) -> None:
    @queue.task(name="session")
    def session() -> int:
        return id(db.session())

    with flask_app.app_context():
        assert session() == id(db.session())
    assert not has_app_context()
    with pytest.raises(RuntimeError, match="outside of application context"):
        session()


def test_a_function_is_found_under_the_name_that_its_author_gave_it(
    queue: PgQueueFlask, table: Table
) -> None:
    def plain(id: int) -> None:
        """Do nothing."""

    task = queue.task(name="plain")(plain)
    assert queue.find(plain) is task
    assert queue.find(task) is task
    assert queue.enqueue(plain, 7).created
    assert table.count("task = 'plain' and args = '{\"id\": 7}'") == 1
    with pytest.raises(UnknownTask):
        queue.find(other)
    assert queue.task(other).name == f"{__name__}.other"


def test_what_cannot_be_a_task_is_refused_as_ever(queue: PgQueueFlask) -> None:
    def generator() -> Any:
        yield 1

    task = queue.task(name="t")(lambda: None)
    refused: list[tuple[Any, str]] = [
        (generator, "a generator"),
        (Dead, "only functions"),
        (task, "already"),
    ]
    for function, reason in refused:
        with pytest.raises(ConfigError, match=reason):
            queue.task(name="refused")(function)


def test_tasks_can_be_declared_before_there_is_an_application(
    flask_app: Flask, table: Table
) -> None:
    queue = PgQueueFlask()
    task = queue.task(name="early")(lambda: current_app.name)
    context = JobContext(id=1, task="early", queue="q", attempt=1, max_attempts=1, lease=1)
    assert task.around is not None
    with pytest.raises(ConfigError, match="call init_app"):
        task.around(context, {})
    queue.init_app(flask_app)
    assert flask_app.extensions["pgqueue"] is queue
    assert task.around(context, {}) == __name__
    task.enqueue()
    assert table.count("task = 'early'") == 1
    queue.close()


def test_the_next_application_takes_the_place_of_the_one_before() -> None:
    queue = PgQueueFlask()
    inspectors = []
    for url, threads in [("postgresql://one", 1), ("postgresql://two", 2)]:
        app = Flask(__name__)
        app.config |= {"PGQUEUE_DATABASE_URL": url, "PGQUEUE_THREADS": threads}
        queue.init_app(app)
        assert (queue.dsn, queue.settings.threads) == (url, threads)
        inspectors.append(queue.inspector)
    assert inspectors[0] is not inspectors[1]
    assert queue.settings.concurrency == Settings().concurrency


class TestWhereTheDatabaseIs:
    @pytest.fixture(autouse=True)
    def no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PGQUEUE_DATABASE_URL", raising=False)
        monkeypatch.setenv("DATABASE_URL", "postgresql://last")

    def of(self, dsn: str | None = None, **config: Any) -> str:
        app = Flask(__name__)
        app.config.update(config)
        return PgQueueFlask(app, dsn=dsn).dsn

    def test_what_names_pgqueue_goes_before_what_names_the_applications(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours = {"PGQUEUE_DATABASE_URL": "postgresql://config"}
        theirs = {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg2://theirs"}
        assert self.of("postgresql://given", **ours) == "postgresql://given"
        assert self.of(**ours, **theirs) == "postgresql://config"
        assert self.of(**theirs) == "postgresql://theirs"
        assert self.of() == "postgresql://last"
        monkeypatch.setenv("PGQUEUE_DATABASE_URL", "postgresql://environment")
        assert self.of(**theirs) == "postgresql://environment"
        assert self.of(**ours) == "postgresql://config"

    def test_an_url_object_keeps_its_password(self) -> None:
        url: URL = make_url("postgresql+psycopg://me:secret@host/db")
        assert self.of(SQLALCHEMY_DATABASE_URI=url) == "postgresql://me:secret@host/db"

    def test_another_database_system_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="not a PostgreSQL DSN"):
            self.of(SQLALCHEMY_DATABASE_URI="mysql://host/db")


@pytest.mark.parametrize(
    ("config", "reason"),
    [({"PGQUEUE_THREDS": 4}, "'PGQUEUE_THREDS'.*PGQUEUE_THREADS"), ({"PGQUEUE_TTL": -1}, "ttl=-1")],
)
def test_a_key_or_value_that_cannot_work_is_refused(config: dict[str, Any], reason: str) -> None:
    app = Flask(__name__)
    app.config.update(config)
    with pytest.raises(ConfigError, match=reason):
        PgQueueFlask(app)


def test_an_extension_is_a_pgqueue() -> None:
    assert isinstance(PgQueueFlask(), PgQueue)
