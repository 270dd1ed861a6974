"""System checks: what in the project's settings, or in its database, keeps jobs from running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import DatabaseError, connections

from pgqueue import revision
from pgqueue.contrib.django.configuration import configuration, databases, require_postgresql
from pgqueue.contrib.django.schema import current_revision
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def register() -> None:
    """Register the checks; those that ask the database run with `check --database` and migrate."""
    checks.register(check_settings)
    checks.register(check_schema, checks.Tags.database)


def check_settings(**_kwargs: Any) -> list[checks.CheckMessage]:
    """The PGQUEUE setting, and the databases that it and TASKS name."""
    try:
        configuration()
    except ConfigError as error:
        return [checks.Error(str(error), id="pgqueue.E001")]
    return [message for alias in sorted(databases()) for message in _check_database(alias)]


def _check_database(alias: str) -> Iterator[checks.CheckMessage]:
    try:
        require_postgresql(alias)
    except ConfigError as error:
        code = "pgqueue.E003" if alias in connections.settings else "pgqueue.E002"
        yield checks.Error(str(error), id=code)
        return
    known = connections[alias].settings_dict
    if not known["AUTOCOMMIT"]:
        yield checks.Warning(
            f"DATABASES[{alias!r}] has AUTOCOMMIT off: a job that is enqueued outside of atomic() "
            "is rolled back unless your code commits.",
            hint="Leave AUTOCOMMIT on, and use transaction.atomic().",
            id="pgqueue.W002",
        )
    settings = configuration().settings
    if known.get("DISABLE_SERVER_SIDE_CURSORS") and settings.listen and not settings.listen_dsn:
        yield checks.Warning(
            f"DATABASES[{alias!r}] looks like a pooler in transaction mode "
            "(DISABLE_SERVER_SIDE_CURSORS), through which workers cannot LISTEN.",
            hint="Set PGQUEUE['SETTINGS']['listen_dsn'] to a direct connection, or 'listen' to "
            "False: then workers find jobs by polling alone.",
            id="pgqueue.W003",
        )


def check_schema(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> Any:
    """The schema, in those of our databases that are asked for; warnings, because migrate asks."""
    for alias in sorted(_ours(databases or ())):
        try:
            current = current_revision(connections[alias])
        except DatabaseError as error:
            yield checks.Warning(f"The pgqueue schema cannot be read: {error}", id="pgqueue.W004")
            continue
        if current not in revision.SUPPORTED:
            name = connections[alias].settings_dict["NAME"]
            yield checks.Warning(
                revision.explain(current, name).partition(": run")[0] + ".",
                hint=f"Run manage.py migrate pgqueue --database {alias}.",
                id="pgqueue.W001",
            )


def _ours(asked: Sequence[str]) -> set[str]:
    try:
        ours = databases()
    except ConfigError:  # check_settings says so
        return set()
    return {alias for alias in asked if alias in ours and connections[alias].vendor == "postgresql"}
