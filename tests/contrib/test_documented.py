"""The first program of each page does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.contrib.serving import served
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `shop` of a page, on the test's database."""
    page, variable = request.param
    dsn = request.getfixturevalue("dsn").replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv(variable, dsn)
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found is not None
    module = ModuleType("shop")
    exec(compile(found[1], page, "exec", dont_inherit=True), module.__dict__)
    yield module
    module.queue.close()


def result(connection: psycopg.Connection[Any], job: int) -> Any:
    row = connection.execute("select result from pgqueue.jobs where id = %s", [job]).fetchone()
    return row and row[0]


@pytest.mark.parametrize("shop", [("fastapi.md", "DATABASE_URL")], indirect=True)
def test_the_program_of_the_fastapi_page(
    shop: ModuleType, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("create table orders (id int generated always as identity)")
    with served(shop.api) as client:
        done = client.post("/orders").json()
        wait_until(lambda: result(connection, done["job"]), what="the job's result")
    shop.engine.dispose()
    assert result(connection, done["job"]) == f"receipt for order {done['order']} sent"


@pytest.mark.parametrize("shop", [("flask.md", "SQLALCHEMY_DATABASE_URI")], indirect=True)
def test_the_program_of_the_flask_page(
    shop: ModuleType, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("create table orders (id int generated always as identity, sent bool)")
    app = shop.create_app()
    done = app.test_client().post("/orders").json
    running = Running(shop.queue, dsn, QUICK, ["default"])
    try:
        wait_until(lambda: result(connection, done["job"]), what="the job's result")
    finally:
        running.stop()
        with app.app_context():
            shop.db.engine.dispose()
    assert result(connection, done["job"]) == f"shop sent the receipt of order {done['order']}"
    assert connection.execute("select sent from orders").fetchone() == (True,)
