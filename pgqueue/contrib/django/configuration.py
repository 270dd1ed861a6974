"""What a Django project says of pgqueue: the PGQUEUE setting, and the databases it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg
from django.conf import settings as django_settings
from django.db import connections
from psycopg.conninfo import make_conninfo

from pgqueue.config import Settings
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE: Final = "pgqueue.contrib.django"
BACKEND: Final = f"{PACKAGE}.PgQueueBackend"
DEFAULT_DATABASE: Final = "default"
DATABASE_VARIABLE: Final = "PGQUEUE_DJANGO_DATABASE"
PATH_VARIABLE: Final = "PGQUEUE_DJANGO_PATH"
"""What manage.py tells the workers that it starts: the alias, and its own sys.path."""
KEYS: Final = ("DATABASE", "IMPORTS", "SETTINGS")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The setting PGQUEUE, checked.

    Attributes:
        database: the alias in DATABASES whose database holds the jobs.
        imports: modules with tasks that a worker imports, besides each app's `tasks`.
        settings: pgqueue's own limits and pauses.
    """

    database: str = DEFAULT_DATABASE
    imports: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)


def configuration() -> Configuration:
    """The project's PGQUEUE setting; every part of it has a default.

    Raises:
        ConfigError: an unknown key, or a value that cannot work.
    """
    given: Any = getattr(django_settings, "PGQUEUE", {})
    if not isinstance(given, dict):
        raise ConfigError(f"PGQUEUE = {given!r}: expected a dict with {', '.join(KEYS)}")
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"PGQUEUE has no key {key!r}; it takes {', '.join(KEYS)}")
    return Configuration(
        database=given.get("DATABASE", DEFAULT_DATABASE),
        imports=_names(given.get("IMPORTS", ())),
        settings=_settings(given.get("SETTINGS", {})),
    )


def _names(imports: Any) -> tuple[str, ...]:
    if isinstance(imports, str) or not all(isinstance(name, str) for name in imports):
        raise ConfigError(f"PGQUEUE['IMPORTS'] = {imports!r}: expected a list of module names")
    return tuple(imports)


def _settings(values: Mapping[str, Any]) -> Settings:
    known = Settings.__dataclass_fields__
    for name in values:
        if name not in known:
            raise ConfigError(
                f"PGQUEUE['SETTINGS'] has no {name!r}; it takes {', '.join(sorted(known))}"
            )
    return Settings(**values)


def databases() -> set[str]:
    """The aliases whose databases hold jobs: that of PGQUEUE, and those of our task backends."""
    backends = getattr(django_settings, "TASKS", None) or {}
    ours = (each for each in backends.values() if _is_ours(each.get("BACKEND", "")))
    named = {(each.get("OPTIONS") or {}).get("database") for each in ours}
    return {configuration().database, *(alias for alias in named if alias)}


def _is_ours(path: str) -> bool:
    return path in {BACKEND, f"{PACKAGE}.backend.PgQueueBackend"}


def queues(alias: str) -> list[str]:
    """The queues that the task backends of a database allow: what its workers should work."""
    found: set[str] = set()
    backends = getattr(django_settings, "TASKS", None) or {}
    for each in backends.values():
        options = each.get("OPTIONS") or {}
        if _is_ours(each.get("BACKEND", "")) and _database(options) == alias:
            found.update(each.get("QUEUES", ["default"]))
    return sorted(found) or ["default"]


def _database(options: Mapping[str, Any]) -> str:
    return options.get("database") or configuration().database


def dsn_of(alias: str) -> str:
    """The DSN of the database that Django knows under an alias; a test database while one is used.

    Raises:
        ConfigError: there is no such alias, or it is not PostgreSQL.
    """
    require_postgresql(alias)
    known = connections[alias].settings_dict
    values: dict[str, Any] = _libpq(known["OPTIONS"])
    names = {"USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    values |= {ours: known[theirs] for theirs, ours in names.items() if known.get(theirs)}
    if known["NAME"] or "service" not in values:
        values["dbname"] = known["NAME"] or "postgres"
    if role := known["OPTIONS"].get("assume_role"):
        values["options"] = f"{values.get('options', '')} -c role={_escaped(role)}".strip()
    return make_conninfo(**values)


def require_postgresql(alias: str) -> None:
    """Refuse a database that cannot hold jobs.

    Raises:
        ConfigError: there is no such alias, or it is not PostgreSQL.
    """
    if alias not in connections.settings:
        raise ConfigError(
            f"pgqueue's database {alias!r} is not in DATABASES; it has "
            f"{', '.join(sorted(connections.settings))}"
        )
    if connections[alias].vendor != "postgresql":
        engine = connections[alias].settings_dict["ENGINE"]
        raise ConfigError(
            f"DATABASES[{alias!r}] is {engine}, and pgqueue needs PostgreSQL: name the alias of a "
            "PostgreSQL database in PGQUEUE = {'DATABASE': ...}"
        )


def _libpq(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of Django's OPTIONS those that libpq takes; the others are of the driver or of Django."""
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    return {name: value for name, value in options.items() if name in known}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
