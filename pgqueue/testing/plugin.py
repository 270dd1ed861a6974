"""The pytest plugin: fixtures, found by pytest where pgqueue is installed.

It is loaded in every run of pytest, also of people who test something else, so it imports nothing
of pgqueue before a fixture is used.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from pgqueue.app import PgQueue
    from pgqueue.testing.tester import JobTester

DSN_VARIABLE = "PGQUEUE_TEST_DSN"
APP_VARIABLE = "PGQUEUE_DATABASE_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --pgqueue-dsn and the ini options pgqueue_app and pgqueue_dsn."""
    group = parser.getgroup("pgqueue")
    group.addoption("--pgqueue-dsn", help="the database of the tests; see pgqueue_dsn")
    parser.addini("pgqueue_app", "the app that the tests use, as module:attribute")
    parser.addini(
        "pgqueue_dsn",
        f"a database for the tests; also --pgqueue-dsn or {DSN_VARIABLE}. Without one a server is "
        "started for the run (extra [embedded])",
    )


@pytest.fixture(scope="session")
def pgqueue_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a database with pgqueue's schema: the one that is named, or an embedded server."""
    from pgqueue import migrate  # noqa: PLC0415 - see the module's docstring

    with ExitStack() as leaving:
        dsn = _named(request.config) or leaving.enter_context(_embedded())
        migrate.upgrade(dsn)
        yield dsn


@pytest.fixture
def pgqueue_app(
    request: pytest.FixtureRequest, pgqueue_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PgQueue]:
    """The app that the ini option `pgqueue_app` names; override it to return your own.

    While a test runs, an app that was given no DSN uses the tests' database.
    """
    from pgqueue.discovery import load_app  # noqa: PLC0415 - see the module's docstring

    spec = request.config.getini("pgqueue_app")
    if not spec:
        pytest.fail(
            'which app do the tests use? Write pgqueue_app = "module:attribute" into the '
            "configuration of pytest, or define a fixture pgqueue_app that returns it",
            pytrace=False,
        )
    monkeypatch.setenv(APP_VARIABLE, pgqueue_database)
    app, _ = load_app(spec, cwd=request.config.rootpath)
    yield app
    app.close()


@pytest.fixture
def pgqueue_connection(pgqueue_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A psycopg connection in a transaction that is rolled back after the test."""
    import psycopg  # noqa: PLC0415 - see the module's docstring

    connection = psycopg.connect(pgqueue_database)
    try:
        yield connection
    finally:
        connection.close()  # which rolls back


@pytest.fixture
def pgqueue_jobs(pgqueue_app: PgQueue, pgqueue_connection: psycopg.Connection[Any]) -> JobTester:
    """A JobTester of the app, in the transaction of `pgqueue_connection`."""
    from pgqueue.testing.tester import JobTester  # noqa: PLC0415 - see the module's docstring

    return JobTester(pgqueue_app, pgqueue_connection)


def _named(config: pytest.Config) -> str | None:
    named = config.getoption("--pgqueue-dsn") or os.environ.get(DSN_VARIABLE)
    dsn = named or config.getini("pgqueue_dsn")
    if not dsn:
        return None
    from pgqueue.config import normalize_dsn  # noqa: PLC0415 - see the module's docstring

    return normalize_dsn(dsn)


@contextmanager
def _embedded() -> Iterator[str]:
    """A server of this run alone; each worker of pytest-xdist starts one of its own."""
    from pgqueue.embedded import EmbeddedServer  # noqa: PLC0415 - see the module's docstring
    from pgqueue.errors import EmbeddedError  # noqa: PLC0415 - as above

    # Not in pytest's own folder: nobody else may enter that, and root cannot run a server.
    folder = tempfile.mkdtemp(prefix="pgqueue-")
    try:
        server = EmbeddedServer.start(Path(folder), settings={"fsync": "off"}, quiet=True)
    except EmbeddedError as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.fail(
            f"no database for the tests: name one ({DSN_VARIABLE}, --pgqueue-dsn or the ini option "
            f"pgqueue_dsn), or install pgqueue-jobs[embedded] ({error})",
            pytrace=False,
        )
    with server:
        yield server.dsn()
    shutil.rmtree(folder, ignore_errors=True)
