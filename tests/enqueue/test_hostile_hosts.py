"""Hosts that have set up their connections in their own way, or hand over what cannot do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, UnboundExecutionError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable
from tests.enqueue.hosts.alchemy import async_engine
from tests.enqueue.hosts.host import parameters
from tests.enqueue.sql import count, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

ARGS = {"text": "100 %s :n é"}
DOCUMENT = json.dumps({"task": "t", "args": ARGS}, ensure_ascii=False)
BEYOND_LATIN1 = '{"task": "t", "args": {"text": "é € \N{GRINNING FACE}"}}'


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def sent(caller: Any, document: str = DOCUMENT) -> int:
    """Enqueue; return the job's id."""
    return int(json.loads(callers.send(caller, document))["id"])


# psycopg


@pytest.mark.parametrize(
    "options",
    [
        {"row_factory": dict_row},
        {"row_factory": scalar_row},
        {"cursor_factory": psycopg.ClientCursor},
        {"cursor_factory": psycopg.RawCursor},
        {"cursor_factory": psycopg.RawCursor, "row_factory": dict_row},
        {"prepare_threshold": 0},
        {"prepare_threshold": None},
    ],
)
def test_a_host_s_factories_do_not_matter(dsn: str, options: dict[str, Any]) -> None:
    with psycopg.connect(dsn, **options) as host:
        first, second = sent(host), sent(host.cursor())
    with psycopg.connect(dsn) as connection:
        assert row_of(connection, first)["args"] == ARGS
        assert row_of(connection, second)["args"] == ARGS


@pytest.mark.parametrize(
    "options",
    [
        {"row_factory": dict_row},
        {"row_factory": scalar_row},
        {"cursor_factory": psycopg.AsyncClientCursor},
        {"cursor_factory": psycopg.AsyncRawCursor, "row_factory": dict_row},
        {"prepare_threshold": 0},
        {"prepare_threshold": None},
    ],
)
def test_an_async_host_s_factories_do_not_matter(dsn: str, options: dict[str, Any]) -> None:
    async def main() -> list[int]:
        async with await psycopg.AsyncConnection.connect(dsn, **options) as host:
            answers = [await callers.asend(each, DOCUMENT) for each in (host, host.cursor())]
        return [json.loads(answer)["id"] for answer in answers]

    ids = asyncio.run(main())
    with psycopg.connect(dsn) as connection:
        assert [row_of(connection, job_id)["args"] for job_id in ids] == [ARGS, ARGS]


def test_what_a_host_s_cursor_has_read_is_still_there(dsn: str) -> None:
    with psycopg.connect(dsn) as host, host.cursor("rows") as rows:
        rows.execute("select generate_series(1, 3)")
        sent(rows)
        assert rows.fetchall() == [(1,), (2,), (3,)]


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII"])
@pytest.mark.parametrize("connect", [psycopg.connect, psycopg2.connect])
def test_a_host_s_client_encoding_does_not_matter(
    dsn: str, connection: psycopg.Connection, connect: Any, encoding: str
) -> None:
    with closing(connect(dsn, client_encoding=encoding)) as host:
        job_id = sent(host, BEYOND_LATIN1)
        host.commit()
    assert row_of(connection, job_id)["args"] == json.loads(BEYOND_LATIN1)["args"]


@pytest.mark.parametrize("connect", [psycopg.connect, psycopg2.connect])
def test_sqlalchemy_s_client_encoding_does_not_matter(
    dsn: str, connection: psycopg.Connection, connect: Any
) -> None:
    engine = create_engine(
        f"postgresql+{connect.__module__.partition('.')[0]}://",
        creator=partial(connect, dsn, client_encoding="LATIN1"),
    )
    with engine.begin() as host:
        job_id = sent(host, BEYOND_LATIN1)
    engine.dispose()
    assert row_of(connection, job_id)["args"] == json.loads(BEYOND_LATIN1)["args"]


def test_a_host_s_json_functions_do_not_matter(dsn: str, connection: psycopg.Connection) -> None:
    def broken(_: Any) -> Any:
        raise AssertionError("the host's own JSON function was called")

    with psycopg.connect(dsn) as host:
        set_json_dumps(broken, host)
        set_json_loads(broken, host)
        job_id = sent(host)
    assert row_of(connection, job_id)["args"] == ARGS


def test_an_autocommit_connection_has_the_transaction_of_its_block(
    dsn: str, connection: psycopg.Connection
) -> None:
    with psycopg.connect(dsn, autocommit=True) as host:
        with host.transaction(force_rollback=True):
            sent(host)
        assert count(connection) == 0
        with host.transaction():
            sent(host)
            assert count(connection) == 0
        assert count(connection) == 1


def test_in_a_pipeline_the_answer_comes_too(dsn: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(dsn) as host:
        with host.pipeline():
            host.execute("select 1")
            first, second = sent(host), sent(host)
            host.rollback()
            third = sent(host)
        assert len({first, second, third}) == 3
    assert count(connection) == 1


def test_in_a_pipeline_without_a_transaction_a_job_shares_the_fate_of_what_came_before(
    dsn: str, connection: psycopg.Connection
) -> None:
    """PostgreSQL takes what stands between two syncs for one transaction."""

    def produce(host: psycopg.Connection) -> None:
        with host.pipeline():
            host.execute("create table shop ()")
            sent(host)
            host.execute("select 1 / 0")

    with psycopg.connect(dsn, autocommit=True) as host:
        with pytest.raises(psycopg.errors.DivisionByZero):
            produce(host)
        assert host.execute("select to_regclass('shop')").fetchone() == (None,)
    assert count(connection) == 0


def test_a_closed_connection_is_refused_before_any_sql(dsn: str) -> None:
    host = psycopg.connect(dsn)
    host.close()
    with pytest.raises(TransactionUnusable, match="closed: enqueue through an open one"):
        sent(host)


def test_an_aborted_transaction_is_refused_before_any_sql(dsn: str) -> None:
    with psycopg.connect(dsn) as host:
        with pytest.raises(psycopg.errors.UndefinedTable):
            host.execute("select * from nowhere")
        with pytest.raises(TransactionUnusable, match="roll back") as refusal:
            sent(host)
        assert refusal.value.__cause__ is None  # the database was not asked
        host.rollback()
        sent(host)


# SQLAlchemy


@pytest.mark.parametrize(
    "options", [{"stream_results": True}, {"yield_per": 10}, {"compiled_cache": None}]
)
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_host_s_execution_options_do_not_matter(
    dsn: str, connection: psycopg.Connection, driver: str, options: dict[str, Any]
) -> None:
    connect = psycopg.connect if driver == "psycopg" else psycopg2.connect
    engine = create_engine(f"postgresql+{driver}://", creator=lambda: connect(dsn))
    with engine.execution_options(**options).begin() as host:
        sent(host)
        sent(host)
    engine.dispose()
    assert count(connection) == 2


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_async_host_s_execution_options_do_not_matter(
    dsn: str, connection: psycopg.Connection, driver: str
) -> None:
    async def main() -> None:
        async with async_engine(driver, dsn, autocommit=False) as engine:
            streaming = engine.execution_options(stream_results=True, yield_per=10)
            async with streaming.begin() as host:
                await callers.asend(host, DOCUMENT)
                await callers.asend(host, DOCUMENT)

    asyncio.run(main())
    assert count(connection) == 2


def test_sqlalchemy_s_json_functions_do_not_matter(
    dsn: str, connection: psycopg.Connection
) -> None:
    def broken(_: Any) -> Any:
        raise AssertionError("the host's own JSON function was called")

    async def main() -> None:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: asyncpg.connect(**parameters(dsn), statement_cache_size=0),
            json_serializer=broken,
            json_deserializer=broken,
        )
        async with engine.begin() as host:
            await callers.asend(host, DOCUMENT)
        await engine.dispose()

    asyncio.run(main())
    assert count(connection) == 1


def test_a_session_of_several_databases_is_told_which(
    engine: Engine, connection: psycopg.Connection
) -> None:
    with Session(binds={Order: engine}) as session, session.begin():
        session.add(Order(number=5))
        with pytest.raises(UnboundExecutionError):
            sent(session)
        session.flush()
        sent(session.connection(bind_arguments={"mapper": Order}))
    assert count(connection) == 1


def test_what_the_session_holds_is_flushed_first(
    engine: Engine, connection: psycopg.Connection
) -> None:
    with Session(engine, autoflush=False) as session, session.begin():
        order = Order(number=5)
        session.add(order)
        sent(session)
        assert order.id is not None
        session.rollback()
    with Session(engine, autoflush=False) as session, session.begin():
        session.add(Order(number=5))
        sent(session)
    assert count(connection) == 1
    assert connection.execute("select number from orders").fetchall() == [(5,)]


def test_an_error_of_the_flush_is_the_caller_s_own(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([Order(number=1), Order(number=1)])
        with pytest.raises(IntegrityError):
            sent(session)
        with pytest.raises(TransactionUnusable, match=r"session\.rollback\(\)"):
            sent(session)
        session.rollback()
        sent(session)


def test_a_closed_sqlalchemy_connection_is_refused(engine: Engine) -> None:
    host = engine.connect()
    host.close()
    with pytest.raises(TransactionUnusable, match="closed"):
        sent(host)


def test_a_connection_that_the_server_dropped_must_be_rolled_back(
    engine: Engine, connection: psycopg.Connection
) -> None:
    with engine.connect() as host:
        pid = host.execute(text("select pg_backend_pid()")).scalar_one()
        connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
        with pytest.raises(Exception, match=r"terminat|closed|lost"):
            host.execute(text("select 1"))
        with pytest.raises(TransactionUnusable, match="roll back"):
            sent(host)
        host.rollback()
        sent(host)
        host.commit()
    assert count(connection) == 1


def test_sqlalchemy_s_autocommit_commits_at_once(
    engine: Engine, connection: psycopg.Connection
) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as host:
        sent(host)
        assert count(connection) == 1


# What is loaded


def test_a_psycopg_caller_does_not_load_sqlalchemy(
    dsn: str, connection: psycopg.Connection
) -> None:
    program = """
import sys, psycopg
from pgqueue.enqueue import callers
with psycopg.connect(sys.argv[1]) as connection:
    callers.send(connection, '{"task": "t"}')
assert "sqlalchemy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, dsn], check=True)
    assert count(connection) == 1
