"""The project of the tests, set up once in a process, and emptied before each test."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import django
import psycopg
import pytest
from django.conf import settings

from tests.contrib.django import project as tests_project
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Running

# Before the modules of tests are imported: they import models. No database is touched yet.
settings.configure(**tests_project.settings())
django.setup()

from django.core.management import call_command  # noqa: E402 - the project comes first
from django.db import connections  # noqa: E402 - as above
from django.test.utils import (  # noqa: E402 - as above
    setup_test_environment,
    teardown_test_environment,
)

from pgqueue.contrib.django import app_for, framework  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests import servers

EMPTY = (
    "truncate pgqueue.jobs, pgqueue.attempts, pgqueue.idempotency_keys, pgqueue.sleepers, "
    "pgqueue.workers, store_item"
)


@pytest.fixture(scope="session")
def project(databases: servers.Databases) -> Iterator[dict[str, str]]:
    """The project, set up and migrated; the DSNs of its databases."""
    names = [databases.create(), databases.create()]
    dsns = dict(zip(("default", "other"), map(databases.server.dsn, names), strict=True))
    setup_test_environment(debug=False)
    for alias, dsn in dsns.items():
        connections.settings[alias].update(tests_project.database(dsn))
    for alias in dsns:
        call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
    yield dsns
    teardown_test_environment()
    connections.close_all()
    for name in names:
        databases.drop(name)


@pytest.fixture
def sql(project: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
    """The project's database as somebody else sees it; emptied first."""
    with psycopg.connect(project["default"], autocommit=True) as connection:
        connection.execute(EMPTY)
        yield connection
    connections.close_all()


@pytest.fixture
def bare(project: dict[str, str], empty_dsn: str) -> Iterator[str]:
    """The alias of a database without pgqueue's schema."""
    del project
    entry = connections.configure_settings(
        {**connections.settings, "bare": tests_project.database(empty_dsn)}
    )["bare"]
    connections.settings["bare"] = entry
    yield "bare"
    connections["bare"].close()
    del connections["bare"], connections.settings["bare"]


@pytest.fixture
def tasks(sql: psycopg.Connection[Any]) -> ModuleType:
    """The tasks of the project."""
    del sql
    return import_module("tests.contrib.django.store.tasks")


@pytest.fixture
def work(project: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Starts workers of the project inside of the test; they are stopped at the end."""
    running: list[Running] = []

    def start(alias: str = "default", **options: Any) -> Running:
        one_settings = replace(QUICK, **options)
        one = Running(app_for(alias), project[alias], one_settings, ["default", "mail"])
        running.append(one)
        wait_until(lambda: one.worker.worker_id or one.error, what="the worker is registered")
        return one

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def finished(work: Callable[..., Running]) -> Callable[..., Any]:
    """Works until a result is finished."""

    def wait(result: Any, **options: Any) -> Any:
        if not options.pop("working", False):
            work(**options)

        def done() -> bool:
            result.refresh()
            return bool(result.is_finished)

        wait_until(done, what="the task is finished")
        return result

    return wait


@pytest.fixture
def signals(project: dict[str, str]) -> Iterator[list[tuple[str, Any, Any]]]:
    """The signals of the framework as they come: name, status at that moment, result."""
    del project
    seen: list[tuple[str, Any, Any]] = []

    def listener(name: str) -> Any:
        def heard(task_result: Any, **_kwargs: Any) -> None:
            seen.append((name, str(task_result.status), task_result))

        return heard

    listeners = {name: listener(name) for name in ("enqueued", "started", "finished")}
    for name, heard in listeners.items():
        getattr(framework, f"task_{name}").connect(heard)
    yield seen
    for name, heard in listeners.items():
        getattr(framework, f"task_{name}").disconnect(heard)
