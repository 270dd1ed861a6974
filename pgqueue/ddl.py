"""The DDL that SQLAlchemy cannot say: storage settings, functions and views; and all of it at once.

The migrations build the same; a test compares the two catalogs.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from pgqueue.schema import SCHEMA, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

FUNCTIONS: Final = ("check_job", "take_key", "enqueue", "remove_jobs", "views")
"""Files of pgqueue/functions, in order of creation; each revokes EXECUTE from PUBLIC."""

STORAGE: Final = {
    # Both versions of a row that changes twice stay on its page: WAL for claim and finish of one
    # job is 0.84 of what fillfactor 100 takes, and the heap ends smaller, not larger.
    "jobs": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05, "
    "autovacuum_vacuum_cost_delay = 1",
    "workers": "fillfactor = 50",
    "progress": "fillfactor = 50",
    "steps": "fillfactor = 50",
    "lanes": "fillfactor = 50",
    "queues": "fillfactor = 50",
}


def function_sql(name: str) -> str:
    """The definition of some of the schema's SQL functions, or of its views."""
    return resources.files("pgqueue").joinpath("functions", f"{name}.sql").read_text("utf-8")


def create_all(connection: Connection) -> None:
    """Build the schema without a migration, for the test that compares it to the migrations."""
    connection.exec_driver_sql(f"create schema {SCHEMA}")
    metadata.create_all(connection, checkfirst=False)
    for table, options in STORAGE.items():
        connection.exec_driver_sql(f"alter table {SCHEMA}.{table} set ({options})")
    for name in FUNCTIONS:
        connection.exec_driver_sql(function_sql(name))
