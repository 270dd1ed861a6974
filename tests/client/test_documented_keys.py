"""The page about keys and limits: every Python block runs, in order, as does its SQL."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests import servers

if TYPE_CHECKING:
    import psycopg
    import pytest

PAGE = (servers.ROOT / "docs" / "idempotency.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_of_the_page_does_what_the_page_says(
    dsn: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "idempotency.md", "exec", dont_inherit=True), names)
    names["app"].close()
    waiting = "select task, args ->> 'title' from pgqueue.jobs where args ->> 'document_id' = '5'"
    # The debounce and the throttle by the last share their key; the first example has its own term.
    assert ("page.reindex", "newer") in connection.execute(waiting).fetchall()
    limits = connection.execute("select name, max_depth from pgqueue.queues").fetchall()
    assert limits == [("default", 10_000)]


def test_the_sql_of_the_page_answers_as_the_page_says(connection: psycopg.Connection[Any]) -> None:
    (block,) = blocks("sql")
    call = block.partition("\n--")[0].encode()
    promised = [json.loads(text) for text in re.findall(r"({.*})$", block, re.MULTILINE)]
    for answer in promised:
        row = connection.execute(call).fetchone()
        assert row is not None
        assert json.loads(row[0]) == answer
