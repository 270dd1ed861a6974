from collections.abc import Iterator
from typing import Annotated, Any

import psycopg
import pytest
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from pgqueue import ConfigError, PgQueue
from pgqueue.contrib.fastapi import Jobs, enqueuer
from tests.contrib.fastapi.sessions import ORDER, SESSIONS, TABLE, charge, shop
from tests.contrib.serving import served
from tests.waiting import wait_until


@pytest.fixture
def orders(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute(TABLE)
    return connection


def stored(orders: psycopg.Connection[Any]) -> tuple[int, int]:
    """How many orders and how many jobs are committed."""
    row = orders.execute(
        "select (select count(*) from orders), (select count(*) from pgqueue.jobs)"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def nobody_is_connected(orders: psycopg.Connection[Any]) -> bool:
    """Whether the server has ended every request's connection."""
    query = """
        select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and backend_type = 'client backend'
    """
    return orders.execute(query).fetchone() == (0,)


@pytest.mark.parametrize("kind", SESSIONS)
def test_the_job_commits_with_the_row_before_the_response_or_neither_does(
    kind: str, dsn: str, orders: psycopg.Connection[Any]
) -> None:
    with served(shop(dsn, kind, "function")) as client:
        assert client.post("/orders?then=fail").status_code == 500
        assert client.post("/orders?parent=99").status_code == 500  # refused by its commit
        assert stored(orders) == (0, 0)
        answer = client.post("/orders")
        assert (answer.status_code, answer.json()) == (200, True)
        assert stored(orders) == (1, 1)
    assert orders.execute("select task, priority from pgqueue.jobs").fetchall() == [("charge", 7)]


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_commit_that_would_come_after_the_response_fails_the_request(
    kind: str, dsn: str, orders: psycopg.Connection[Any]
) -> None:
    with served(shop(dsn, kind, None)) as client:
        assert client.post("/orders").status_code == 500
        wait_until(lambda: nobody_is_connected(orders), what="the request's transaction ended")
        assert stored(orders) == (0, 0)
        assert client.post("/orders?then=commit").status_code == 200
        assert client.post("/orders?then=commit,read").status_code == 200
        assert stored(orders) == (2, 2)


@pytest.mark.usefixtures("orders")
def test_the_error_names_the_dependency_and_what_to_do(dsn: str) -> None:
    api = shop(dsn, "Session", None)
    seen: list[str] = []

    @api.exception_handler(ConfigError)
    def keep(_request: Any, error: ConfigError) -> Any:
        seen.append(str(error))
        raise error

    with served(api) as client:
        client.post("/orders")
    assert 'Depends(get_session, scope="function")' in seen[0]


class TestFastAPIItself:
    """What the page says of FastAPI: the trap, and the two ways around it."""

    @pytest.fixture
    def api(self, dsn: str) -> FastAPI:
        engine = create_engine(
            dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool
        )
        task = PgQueue(dsn).task(name="charge")(charge)
        api = FastAPI()

        def get_session() -> Iterator[Session]:
            with Session(engine) as session, session.begin():
                yield session

        def plain_session() -> Iterator[Session]:
            with Session(engine) as session:
                yield session

        def order(session: Session) -> str:
            session.execute(text(ORDER.format(parent=99)))
            task.using(session).enqueue(1)
            return "accepted"

        @api.post("/after")
        def after(session: Annotated[Session, Depends(get_session)]) -> str:
            return order(session)

        @api.post("/before")
        def before(session: Annotated[Session, Depends(get_session, scope="function")]) -> str:
            return order(session)

        @api.post("/inside")
        def inside(session: Annotated[Session, Depends(plain_session)]) -> str:
            with session.begin():
                return order(session)

        return api

    def test_a_dependency_that_commits_after_its_yield_answers_200_for_what_is_lost(
        self, api: FastAPI, orders: psycopg.Connection[Any]
    ) -> None:
        with served(api) as client:
            answer = client.post("/after")
        assert (answer.status_code, answer.json()) == (200, "accepted")
        assert stored(orders) == (0, 0)

    @pytest.mark.parametrize("path", ["/before", "/inside"])
    def test_a_commit_before_the_response_tells_the_client(
        self, path: str, api: FastAPI, orders: psycopg.Connection[Any]
    ) -> None:
        with served(api) as client:
            assert client.post(path).status_code == 500
        assert stored(orders) == (0, 0)


@pytest.fixture
def autocommit_engine(dsn: str) -> Any:
    url = dsn.replace("postgresql:", "postgresql+psycopg:")
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def test_what_is_committed_at_once_is_not_late(dsn: str, autocommit_engine: Any) -> None:
    def get_session() -> Iterator[Session]:
        with Session(autocommit_engine) as session:
            yield session

    with served(one_route(dsn, get_session)) as client:
        assert client.post("/").status_code == 200


def test_a_scoped_session_is_looked_at_in_the_thread_that_used_it(dsn: str) -> None:
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    sessions = scoped_session(sessionmaker(engine))

    def get_session() -> Iterator[scoped_session[Session]]:
        yield sessions
        sessions.remove()

    with served(one_route(dsn, get_session)) as client:
        assert client.post("/").status_code == 500
        assert client.post("/?commit=1").status_code == 200


def test_a_failed_route_keeps_its_own_error(dsn: str) -> None:
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    def get_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    with served(one_route(dsn, get_session)) as client:
        assert client.post("/?teapot=1").status_code == 418


def test_an_override_of_the_session_is_used_by_the_jobs_too(
    dsn: str, orders: psycopg.Connection[Any]
) -> None:
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    def get_session() -> Iterator[Session]:
        yield Session()  # of no engine

    def of_the_test() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    api = one_route(dsn, get_session)
    api.dependency_overrides[get_session] = of_the_test
    with served(api) as client:
        assert client.post("/?commit=1").status_code == 200
    assert stored(orders) == (0, 1)


def one_route(dsn: str, get_session: Any) -> FastAPI:
    app = PgQueue(dsn)
    app.task(name="charge")(charge)
    api = FastAPI()
    dependency = Depends(get_session)

    @api.post("/")
    def route(
        session: Annotated[Any, dependency],
        jobs: Annotated[Jobs, enqueuer(app, Annotated[Any, dependency])],
        *,
        commit: bool = False,
        teapot: bool = False,
    ) -> None:
        jobs.enqueue_many([app.tasks["charge"].job(1)])
        if commit:
            session.commit()
        if teapot:
            raise HTTPException(418)

    return api


def get_session() -> Iterator[Session]:
    yield Session()


@pytest.mark.parametrize(
    "session",
    [
        get_session,
        Session,
        Annotated[Session, "no dependency"],
        Depends(),
        Depends(get_session, use_cache=False),
    ],
)
def test_what_does_not_say_which_session_is_refused(session: Any) -> None:
    with pytest.raises(ConfigError, match="pass what your routes use"):
        enqueuer(PgQueue("unused"), session)
