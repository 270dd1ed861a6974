"""Hosts that have set up asyncpg, psycopg2 or pg8000 in their own way."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import asyncpg
import pg8000.dbapi
import pg8000.legacy
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest

from pgqueue.enqueue import callers
from pgqueue.errors import TransactionUnusable
from tests.enqueue.hosts.dbapi import pg8000_parameters
from tests.enqueue.hosts.host import parameters
from tests.enqueue.sql import count, row_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    import psycopg

TEXT = "100 %s :n $1 é € \N{GRINNING FACE}"
DOCUMENT = json.dumps({"task": "t", "args": {"text": TEXT}}, ensure_ascii=False)


def broken(_: Any) -> Any:
    raise AssertionError("the host's own JSON function was called")


def args_of(business: psycopg.Connection, answer: str) -> Any:
    return row_of(business, json.loads(answer)["id"])["args"]["text"]


# asyncpg


def with_asyncpg(dsn: str, use: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        caller = await asyncpg.connect(**parameters(dsn), **options)
        try:
            return await use(caller)
        finally:
            await caller.close()

    return asyncio.run(main())


async def in_transaction(caller: Any) -> str:
    async with caller.transaction():
        return await callers.asend(caller, DOCUMENT)


class OwnRecord(asyncpg.Record):  # type: ignore[misc]  # asyncpg is untyped
    def __getattr__(self, name: str) -> Any:
        return self[name]


class OwnConnection(asyncpg.Connection):  # type: ignore[misc]
    pass


@pytest.mark.parametrize(
    "options",
    [
        {"statement_cache_size": 0},
        {"record_class": OwnRecord},
        {"connection_class": OwnConnection},
        {"server_settings": {"default_transaction_isolation": "serializable"}},
    ],
)
def test_asyncpg_s_options_do_not_matter(
    shared_dsn: str, business: psycopg.Connection, options: dict[str, Any]
) -> None:
    answer = with_asyncpg(shared_dsn, in_transaction, **options)
    assert args_of(business, answer) == TEXT


@pytest.mark.parametrize("functions", [(json.dumps, json.loads), (broken, broken)])
def test_asyncpg_s_json_codecs_do_not_matter(
    shared_dsn: str, business: psycopg.Connection, functions: Any
) -> None:
    encoder, decoder = functions

    async def use(caller: Any) -> str:
        for name in ("json", "jsonb"):
            await caller.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder)
        return await in_transaction(caller)

    assert args_of(business, with_asyncpg(shared_dsn, use)) == TEXT


def test_asyncpg_commits_at_once_outside_of_a_transaction_and_not_inside(
    shared_dsn: str, business: psycopg.Connection
) -> None:
    async def undone(caller: Any) -> None:
        async with caller.transaction():
            await callers.asend(caller, DOCUMENT)
            raise LookupError

    async def use(caller: Any) -> None:
        async with caller.transaction():
            with pytest.raises(LookupError):
                await undone(caller)
            await callers.asend(caller, DOCUMENT)
            assert count(business) == 0
        assert count(business) == 1
        await callers.asend(caller, DOCUMENT)
        assert count(business) == 2

    with_asyncpg(shared_dsn, use)


def test_asyncpg_s_closed_or_released_connection_is_refused(shared_dsn: str) -> None:
    async def closed(caller: Any) -> None:
        await caller.close()
        for required in (False, True):
            with pytest.raises(TransactionUnusable):
                await callers.asend(caller, DOCUMENT, require_transaction=required)

    async def released() -> None:
        async with asyncpg.create_pool(**parameters(shared_dsn), min_size=1) as pool:
            async with pool.acquire() as caller:
                pass
            for required in (False, True):
                with pytest.raises(TransactionUnusable, match="closed"):
                    await callers.asend(caller, DOCUMENT, require_transaction=required)

    with_asyncpg(shared_dsn, closed)
    asyncio.run(released())


def test_an_asyncpg_connection_that_is_busy_says_so_itself(shared_dsn: str) -> None:
    async def use(caller: Any) -> None:
        busy = asyncio.ensure_future(caller.execute("select pg_sleep(0.05)"))
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError, match="another operation"):
            await callers.asend(caller, DOCUMENT)
        await busy

    with_asyncpg(shared_dsn, use)


# psycopg2


@pytest.mark.parametrize(
    "factory",
    [
        psycopg2.extras.RealDictCursor,
        psycopg2.extras.DictCursor,
        psycopg2.extras.NamedTupleCursor,
        psycopg2.extras.LoggingCursor,
    ],
)
def test_psycopg2_s_cursor_factory_does_not_matter(
    shared_dsn: str, business: psycopg.Connection, factory: Any
) -> None:
    with closing(psycopg2.connect(shared_dsn, cursor_factory=factory)) as caller, caller:
        answer = callers.send(caller, DOCUMENT)
    assert args_of(business, answer) == TEXT


def test_psycopg2_s_server_side_cursor_leads_to_its_connection(
    shared_dsn: str, business: psycopg.Connection
) -> None:
    with closing(psycopg2.connect(shared_dsn)) as caller, caller, caller.cursor("rows") as rows:
        rows.execute("select generate_series(1, 3)")
        rows.itersize = 1
        first = rows.fetchone()
        callers.send(rows, DOCUMENT)
        assert [first, *rows.fetchall()] == [(1,), (2,), (3,)]
    assert count(business) == 1


def test_psycopg2_s_json_functions_do_not_matter(
    shared_dsn: str, business: psycopg.Connection
) -> None:
    with closing(psycopg2.connect(shared_dsn)) as caller, caller:
        psycopg2.extras.register_default_json(caller, loads=broken)
        psycopg2.extras.register_default_jsonb(caller, loads=broken)
        answer = callers.send(caller, DOCUMENT)
    assert args_of(business, answer) == TEXT


def test_a_closed_psycopg2_connection_is_refused(shared_dsn: str) -> None:
    caller = psycopg2.connect(shared_dsn)
    caller.close()
    with pytest.raises(TransactionUnusable, match="closed"):
        callers.send(caller, DOCUMENT)


def test_an_asynchronous_psycopg2_connection_is_refused(shared_dsn: str) -> None:
    with closing(psycopg2.connect(shared_dsn, async_=True)) as caller:
        psycopg2.extras.wait_select(caller)
        with pytest.raises(TypeError, match="async_=True"):
            callers.send(caller, DOCUMENT)


# pg8000


@pytest.mark.parametrize("style", ["qmark", "numeric", "named", "format", "pyformat"])
@pytest.mark.parametrize("driver", [pg8000.dbapi, pg8000.legacy])
def test_pg8000_s_parameter_style_does_not_matter(
    shared_dsn: str,
    business: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    driver: ModuleType,
    style: str,
) -> None:
    monkeypatch.setattr(driver, "paramstyle", style)
    monkeypatch.setattr(pg8000, "paramstyle", style)
    with closing(driver.connect(**pg8000_parameters(shared_dsn))) as caller:
        answer = callers.send(caller, DOCUMENT)
        caller.commit()
    assert args_of(business, answer) == TEXT


def test_a_closed_pg8000_connection_is_refused(shared_dsn: str) -> None:
    caller = pg8000.dbapi.connect(**pg8000_parameters(shared_dsn))
    caller.close()
    with pytest.raises(TransactionUnusable, match="closed"):
        callers.send(caller, DOCUMENT)
