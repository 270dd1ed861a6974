"""How often each statement of pgqueue/sql ran, by its file's name, from pg_stat_statements."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store

if TYPE_CHECKING:
    import psycopg

CALLS: Final = """
    select query, calls from pg_stat_statements
    where dbid = (select oid from pg_database where datname = current_database())
        and query not like '%%pg_stat_statements%%'"""
# What stands for a value: here, in psycopg's form, and in the form that the server keeps.
_VALUE: Final = re.compile(r"%\(\w+\)s|\$\d+|'[^']*'|\b\d+\b|\b(?:true|false|null)\b")
_CONTROL: Final = ("begin", "commit", "rollback", "set", "deallocate", "discard", "listen")


def calls(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Calls by name; a statement that is none of ours goes by its own text."""
    known = {shape(store.statement(name).decode()): name for name in names()}
    found: Counter[str] = Counter()
    for query, count in connection.execute(CALLS):
        if query.split(maxsplit=1)[0].lower() not in _CONTROL:
            found[known.get(shape(query)) or " ".join(query.split())[:60]] += count
    return dict(found)


def shape(query: str) -> str:
    """A statement without values, comments, case and layout."""
    lines = (line for line in query.splitlines() if not line.lstrip().startswith("--"))
    return " ".join(_VALUE.sub("?", " ".join(lines)).lower().split())


def names() -> list[str]:
    """The files in pgqueue/sql."""
    folder = resources.files("pgqueue").joinpath("sql")
    return [path.name.removesuffix(".sql") for path in folder.iterdir()]
