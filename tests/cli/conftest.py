from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg


@dataclass(frozen=True)
class Answer:
    """What a command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def pgqueue(dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Run a command line in this process, on a migrated database."""
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)

    def run(*arguments: str) -> Answer:
        code = main(arguments)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def insert(connection: psycopg.Connection[Any]) -> Callable[..., int]:
    """Insert a job as it would stand; returns its id."""

    def make(**columns: Any) -> int:
        values = {"task": "t", **columns}
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        query = f"insert into pgqueue.jobs ({names}) values ({marks}) returning id"
        row = connection.execute(query.encode(), list(values.values())).fetchone()
        assert row is not None
        return int(row[0])

    return make
