"""The pytest plugin, in runs of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests import servers

APP = """
from pgqueue import PgQueue

app = PgQueue()

@app.task
def note(word: str) -> str:
    return word
"""
USES = """
import pgqueue
from shop import app, note

def test_a_job_runs(pgqueue_jobs, pgqueue_connection):
    note.using(pgqueue_connection).enqueue("a")
    assert pgqueue_jobs.drain()[0].result == "a"

def test_the_app_enqueues_into_the_database_of_the_tests(pgqueue_jobs, pgqueue_database):
    assert app.dsn == pgqueue_database
    job = note.enqueue("b")
    assert app.job(job).state == "ready"
    app.cancel(job)
    app.delete(job)

def test_nothing_is_left(pgqueue_jobs):
    assert pgqueue_jobs.enqueued(states=["ready", "succeeded"]) == []
"""
FILES = {
    "own/conftest.py": """
import pytest
import shop

@pytest.fixture
def pgqueue_app():
    return shop.app
""",
    "own/test_own.py": """
def test_it(pgqueue_jobs):
    assert pgqueue_jobs.app.tasks.keys() == {"shop.note"}
""",
    "own/test_fails.py": """import shop

def test_it(pgqueue_jobs):
    pgqueue_jobs.refute_enqueued(shop.note)
    pgqueue_jobs.assert_enqueued(shop.note, "a")
""",
    "none/test_none.py": "def test_it(pgqueue_jobs): ...\n",
}
CONFIGURATION = "[pytest]\npgqueue_app = shop\nfilterwarnings = error\n"


def pytest_run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command,
        cwd=folder,
        env=own | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(folder: Path, tests: str, configuration: str = CONFIGURATION) -> None:
    (folder / "shop.py").write_text(APP)
    (folder / "test_shop.py").write_text(tests)
    (folder / "pytest.ini").write_text(configuration)


def test_without_a_database_a_server_is_started_for_the_run(tmp_path: Path) -> None:
    write(tmp_path, USES)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        done = pytest_run(tmp_path, TMPDIR=folder)
        assert "3 passed" in done.stdout, done.stdout
        assert not list(Path(folder).glob("pgqueue-*"))


def test_a_database_that_is_named_is_migrated_and_left_as_it_was(
    tmp_path: Path, empty_dsn: str
) -> None:
    write(tmp_path, USES)
    done = pytest_run(tmp_path, "--pgqueue-dsn", empty_dsn, PGQUEUE_TEST_DSN="host=/nowhere")
    assert "3 passed" in done.stdout, done.stdout
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


@pytest.fixture(scope="module")
def said(databases: servers.Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The report of a run whose tests pass, fail, and lack an app."""
    folder = tmp_path_factory.mktemp("run")
    write(folder, "", "[pytest]\npythonpath = .\n")
    for name, code in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    with databases.fresh() as dsn:
        yield pytest_run(folder, "-rA", PGQUEUE_TEST_DSN=dsn).stdout


def test_a_fixture_of_ones_own_takes_the_place_of_the_plugins(said: str) -> None:
    assert "PASSED own/test_own.py::test_it" in said


def test_who_names_no_app_is_told_how(said: str) -> None:
    assert 'Write pgqueue_app = "module:attribute"' in said
    assert "ERROR none/test_none.py::test_it" in said


def test_a_failure_is_shown_where_the_test_asserts(said: str) -> None:
    assert "expected a job like shop.note(word='a'); found none" in said
    assert "own/test_fails.py:5: AssertionError" in said
    assert "tester.py" not in said


def test_other_peoples_runs_load_nothing_of_pgqueue_but_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    loaded = {name for name in sys.modules if name.split('.')[0] == 'pgqueue'}\n"
        "    few = {'pgqueue', 'pgqueue._version', 'pgqueue.testing', 'pgqueue.testing.plugin'}\n"
        "    assert loaded == few\n"
        "    ours = {'psycopg', 'sqlalchemy', 'asyncio'}\n"
        "    if sys.version_info >= (3, 14):\n"
        "        ours.remove('asyncio')  # the debugger loads it, and pytest the debugger\n"
        "    assert not ours & sys.modules.keys()\n"
    )
    done = pytest_run(tmp_path, "-p", "no:hypothesispytest", "-p", "no:anyio")
    assert "1 passed" in done.stdout, done.stdout
