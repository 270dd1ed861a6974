"""Where a database stands, for people and for a worker that starts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg.rows import dict_row

from pgqueue import migrate, revision
from pgqueue._version import __version__
from pgqueue.config import Settings
from pgqueue.errors import SchemaError

if TYPE_CHECKING:
    from pathlib import Path

TITLE = "Jobs, attempts, workers, idempotency keys, and what workers share"


def set_revision(dsn: str, number: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update pgqueue.alembic_version set version_num = %s", [number])


def check(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        revision.check(connection)


def test_a_database_without_pgqueue_is_missing(empty_dsn: str) -> None:
    assert migrate.status(empty_dsn) == migrate.MigrationStatus(
        state="missing", current=None, head="0001", pending=[("0001", TITLE)]
    )


def test_a_migrated_database_is_current(dsn: str) -> None:
    assert migrate.status(dsn) == migrate.MigrationStatus(
        state="current", current="0001", head="0001", pending=[]
    )


@pytest.mark.usefixtures("next_folder")
def test_a_database_below_the_head_is_behind(dsn: str) -> None:
    assert migrate.status(dsn) == migrate.MigrationStatus(
        state="behind", current="0001", head="0002", pending=[("0002", "An extra table")]
    )


def test_a_database_of_a_later_version_is_newer(dsn: str) -> None:
    set_revision(dsn, "0007")
    assert migrate.status(dsn) == migrate.MigrationStatus(
        state="newer", current="0007", head="0001", pending=[]
    )


def test_a_schema_without_the_version_table_is_missing(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("create schema pgqueue")
    assert migrate.status(empty_dsn).state == "missing"


def test_a_status_under_a_running_migration_says_so(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "SETTINGS", Settings(lock_timeout=0.05))
    with psycopg.connect(dsn) as migration:
        migration.execute("lock table pgqueue.alembic_version")
        with pytest.raises(SchemaError, match="is locked: a migration runs now, try again"):
            migrate.status(dsn)


def test_a_worker_starts_on_a_current_schema(dsn: str) -> None:
    check(dsn)


def test_a_worker_refuses_a_database_without_the_schema(empty_dsn: str) -> None:
    message = r"the pgqueue schema is missing in database 'pgqueue_test_\w+': run pgqueue migrate$"
    with pytest.raises(SchemaError, match=message):
        check(empty_dsn)


def test_a_worker_refuses_a_schema_that_is_behind(dsn: str) -> None:
    set_revision(dsn, "0000")
    message = rf"at revision '0000', behind what this pgqueue {__version__} needs \(0001\): run pgq"
    with pytest.raises(SchemaError, match=message):
        check(dsn)


def test_a_worker_refuses_a_schema_that_is_newer(dsn: str) -> None:
    set_revision(dsn, "0007")
    message = (
        rf"is at revision '0007', newer than this pgqueue {__version__} supports \(0001\): "
        "upgrade pgqueue in this process$"
    )
    with pytest.raises(SchemaError, match=message):
        check(dsn)


def test_a_check_leaves_an_open_transaction_usable(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, row_factory=dict_row) as connection:
        connection.execute("create table mine (id bigint)")
        with pytest.raises(SchemaError, match="missing"):
            revision.check(connection)
        assert connection.execute("select count(*) as n from mine").fetchone() == {"n": 0}


def test_head_is_the_newest_migration() -> None:
    script = ScriptDirectory(str(migrate.folder()))
    assert script.get_current_head() == revision.HEAD
    assert revision.HEAD in revision.SUPPORTED
    assert set(migrate.revisions()) >= revision.SUPPORTED


def test_revisions_are_one_line_of_numbers_that_sort() -> None:
    numbers = list(migrate.revisions())
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("module", ["pgqueue.revision", "pgqueue.migrate"])
def test_importing_costs_neither_alembic_nor_sqlalchemy(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'alembic', 'sqlalchemy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_an_installation_without_migrations_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_PACKAGE", tmp_path / "pgqueue")
    with pytest.raises(SchemaError, match=r"_migrations nor|are in neither .*: install pgqueue"):
        migrate.folder()
