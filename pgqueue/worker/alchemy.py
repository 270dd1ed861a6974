"""Our statements on a SQLAlchemy connection, over whatever driver for PostgreSQL it has."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, TextClause

OPTIONS: Final = {"stream_results": False, "yield_per": None}
"""The host may have turned on server-side cursors for all that it reads."""


def execute(
    connection: Connection, name: str, values: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run sql/NAME.sql in the connection's transaction; the rows it returns."""
    # As text, which each statement casts: drivers differ in the types that they bind.
    texts = {key: None if value is None else str(value) for key, value in (values or {}).items()}
    result = connection.execute(_clause(name), texts, execution_options=OPTIONS)
    return [tuple(row) for row in result] if result.returns_rows else []


@cache
def _clause(name: str) -> TextClause:
    from sqlalchemy import String, bindparam, text  # noqa: PLC0415 - loaded with the first session

    sql = store.statement(name).decode()
    names = dict.fromkeys(re.findall(r"%\((\w+)\)s", sql))
    sql = re.sub(r"%\((\w+)\)s::(\w+)", r"cast(:\1 as \2)", sql).replace("%%", "%")
    return text(sql).bindparams(*(bindparam(each, type_=String) for each in names))
