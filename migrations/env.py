"""Runs the migrations on the connection that pgqueue.migrate hands over, or writes them as SQL.

No logging is configured and no URL is read here: both belong to the program that migrates.
"""

from __future__ import annotations

from typing import Any

from alembic import context

# The version table stands in the schema that it describes: it never meets the user's own.
OPTIONS: dict[str, Any] = {"version_table_schema": "pgqueue"}


def configure() -> None:
    if context.is_offline_mode():
        # With "named", a percent sign in SQL text is written as it stands.
        context.configure(
            dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, **OPTIONS
        )
    else:
        context.configure(connection=context.config.attributes["connection"], **OPTIONS)


def run() -> None:
    configure()
    with context.begin_transaction():
        for statement in context.config.attributes["before"]:
            context.execute(statement)
        context.run_migrations()
        for statement in context.config.attributes["after"]:
            context.execute(statement)


run()
