"""The pages about transactional tasks and steps do what they say: every Python block is run."""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tests import servers
from tests.worker.conftest import QUICK, Running

if TYPE_CHECKING:
    import pytest

    from tests.worker.table import Table


def page(name: str, monkeypatch: pytest.MonkeyPatch, dsn: str) -> Any:
    """A module of all blocks of a page, in their order."""
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    monkeypatch.setenv("SHOP_DATABASE", dsn.replace("postgresql:", "postgresql+psycopg:"))
    text = (servers.ROOT / "docs" / name).read_text("utf-8")
    module = ModuleType("shop")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, name, "exec", dont_inherit=True), module.__dict__)
    return module


def test_the_page_about_transactional_tasks(
    table: Table, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = page("transactional.md", monkeypatch, dsn)
    shop.Base.metadata.create_all(shop.engine)
    table.connection.execute("insert into orders values (17, false)")
    worker = Running(shop.app, dsn, QUICK, ["default"])
    paid = table.add_one("pay", args={"order_id": 17})
    imported = [table.add_one("import_order", args={"order_id": number}) for number in (17, 18)]
    table.wait([paid, *imported], "succeeded")
    rows = table.connection.execute("select id, paid from orders order by id").fetchall()
    assert rows == [(17, True), (18, False)]
    assert [table.row(id_)["result"] for id_ in imported] == ["known", "new"]
    assert table.count("task = 'send_receipt'") == 1
    worker.stop()
    shop.engine.dispose()


def test_the_page_about_steps(table: Table, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table.connection.execute("create table orders (id bigint, paid boolean)")
    table.connection.execute("insert into orders values (17, false)")
    shop = page("steps.md", monkeypatch, dsn)
    worker = Running(shop.app, dsn, QUICK, ["default"])
    ids = [table.add_one(task, args={"order_id": 17}) for task in ("ship", "aship", "pay", "pay")]
    table.wait(ids, "succeeded")
    assert [table.row(id_)["result"] for id_ in ids] == [
        "reservation-17, payment-17",
        "reservation-17",
        17,
        17,
    ]
    assert table.connection.execute("select paid from orders").fetchall() == [(True,)]
    kept = table.connection.execute("select scope, key from pgqueue.effects order by 1").fetchall()
    assert kept == [("payments", "pay-17"), ("ship", "charge-17")]
    worker.stop()
