"""The page about results runs from top to bottom, with a worker beside it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.contrib.serving import served
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def shop(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's program, on the test's database."""
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    module = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    run(module, BLOCKS[0])
    yield module
    module.queue.close()


def run(module: ModuleType, block: str) -> None:
    exec(compile(block, str(PAGE), "exec", dont_inherit=True), vars(module))


def test_the_program_answers_at_once_or_says_where_to_ask(shop: ModuleType, dsn: str) -> None:
    query = {"customer": 7, "pages": 1}
    with served(shop.api) as client:
        vars(shop)["PATIENCE"] = 0.05
        accepted = client.post("/reports", params=query)
        assert accepted.status_code == 202
        where = accepted.headers["location"]
        assert client.get(where).json() == {
            "job": accepted.json()["job"],
            "state": "ready",
            "done": None,
        }
        assert client.get("/reports/987654").status_code == 404
        worker = Running(shop.queue, dsn, QUICK, ["default"])
        try:
            made: Any = wait_until(lambda: (got := client.get(where)).status_code == 200 and got)
            assert made.json() == {"report": ["page 1 for customer 7"]}
            vars(shop)["PATIENCE"] = 10
            at_once = client.post("/reports", params=query)
            assert (at_once.status_code, at_once.json()) == (200, made.json())
        finally:
            worker.stop()


def test_the_other_examples_of_the_page_work(shop: ModuleType, dsn: str) -> None:
    assert len(BLOCKS) == 4
    # The worker first: it knows the tasks of all blocks.
    worker = None
    try:
        run(shop, BLOCKS[2].split("\n\n\ntry:")[0])
        run(shop, BLOCKS[3])
        worker = Running(shop.queue, dsn, QUICK, ["default"])
        run(shop, BLOCKS[1])
        run(shop, "try:" + BLOCKS[2].split("\n\n\ntry:")[1])
        handle = shop.load.enqueue(5)
        assert handle.wait(10) == "succeeded"
        progress = shop.queue.job(handle).progress
        assert (progress.done, progress.total, progress.message) == (5, 5, "loading")
    finally:
        if worker is not None:
            worker.stop()
