"""How the server would run a statement of the hot path: its plan, with typed parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgqueue import store
from pgqueue.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgqueue.connections import Connection

TYPES = {
    "after": "bigint",
    "badly": "boolean",
    "cap": "bigint",
    "caps": "integer[]",
    "crash_cap": "smallint",
    "culprit": "bigint",
    "floor_ids": "bigint[]",
    "floor_times": "timestamptz[]",
    "echo": "boolean",
    "id": "bigint",
    "ids": "bigint[]",
    "intended": "boolean",
    "lease": "bigint",
    "leases": "bigint[]",
    "name": "text",
    "names": "text[]",
    "newest": "bigint",
    "older_than": "float8",
    "outcomes": "jsonb",
    "pauses": "float8[]",
    "priorities": "smallint[]",
    "queues": "text[]",
    "reach": "bigint",
    "reports": "jsonb",
    "results": "jsonb",
    "most": "smallint",
    "room": "smallint",
    "size": "bigint",
    "started": "bigint[]",
    "states": "text[]",
    "suspects": "boolean",
    "until": "bigint",
    "walk": "text",
    "worker": "text",
    "worker_id": "bigint",
    "young": "float8",
}


@dataclass(frozen=True)
class Scan:
    """One node of a plan that reads a table or an index."""

    kind: str
    table: str
    index: str
    condition: str


@dataclass(frozen=True)
class Plan:
    """What of a plan the tests look at."""

    scans: list[Scan]
    kinds: list[str]

    def of(self, table: str) -> list[Scan]:
        """The scans of a table."""
        return [scan for scan in self.scans if scan.table == table]


def explain(connection: Connection, mode: str, name: str, values: Mapping[str, object]) -> Plan:
    """The plan of sql/NAME.sql, prepared, under the settings of an exchange.

    Args:
        connection: in autocommit mode; nothing of this is kept.
        mode: a value of plan_cache_mode.
        name: of the statement.
        values: its parameters, as text literals.
    """
    text, names = _numbered(store.statement(name).decode())
    types = ", ".join(TYPES[each] for each in names)
    literals = ", ".join(_literal(values[each]) for each in names)
    with connection.transaction(force_rollback=True):
        store.execute(connection, "limits", store.limits(Settings()))
        connection.execute(f"set local plan_cache_mode = {mode}".encode())
        connection.execute(f"prepare it{f' ({types})' * bool(names)} as {text}".encode())
        call = f"it ({literals})" if names else "it"
        row = connection.execute(f"explain (format json) execute {call}".encode()).fetchone()
        connection.execute("deallocate it")
    assert row is not None
    return Plan(*_read(row[0][0]["Plan"]))


def _numbered(text: str) -> tuple[str, list[str]]:
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text)
    return numbered.replace("%%", "%"), names


def _literal(value: object) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def _read(root: Mapping[str, Any]) -> tuple[list[Scan], list[str]]:
    nodes = list(_walk(root))
    tables: dict[str, str] = {}
    scans = []
    for node, above in nodes:
        table = node.get("Relation Name") or tables.get(above, "")
        tables[str(id(node))] = table
        if "Scan" in node["Node Type"] and table:
            index, condition = node.get("Index Name", ""), node.get("Index Cond", "")
            scans.append(Scan(node["Node Type"], table, index, condition))
    return scans, [node["Node Type"] for node, _ in nodes]


def _walk(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every node; a Bitmap Index Scan names no table, the Bitmap Heap Scan above it does."""
    yield node, above
    for child in node.get("Plans", ()):
        yield from _walk(child, str(id(node)))
