"""The SQL that a DBA runs instead of `upgrade`."""

from __future__ import annotations

import re

import psycopg
import pytest

from pgqueue import migrate
from pgqueue.errors import ConfigError
from tests.migrations.catalog import differences, read_database

VERSION_TABLE = """
    select version_num, attname, format_type(atttypid, atttypmod), attnotnull,
        pg_get_constraintdef(pg_constraint.oid)
    from pgqueue.alembic_version, pg_attribute
    join pg_constraint on conrelid = attrelid and contype = 'p'
    where attrelid = 'pgqueue.alembic_version'::regclass and attnum > 0
"""


def run(dsn: str, script: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(script)


def version_table(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(VERSION_TABLE).fetchall()


def test_the_sql_makes_what_an_upgrade_makes(empty_dsn: str, dsn: str) -> None:
    run(empty_dsn, migrate.sql())
    assert differences(read_database(empty_dsn), read_database(dsn)) == []
    assert version_table(empty_dsn) == version_table(dsn)
    assert migrate.status(empty_dsn).state == "current"


def test_the_sql_on_a_database_that_has_the_schema_changes_nothing(dsn: str) -> None:
    before = read_database(dsn)
    with pytest.raises(psycopg.errors.DuplicateTable, match="alembic_version"):
        run(dsn, migrate.sql())
    assert read_database(dsn) == before


def test_the_sql_to_base_leaves_nothing(dsn: str) -> None:
    run(dsn, migrate.sql(to="base", from_="0001"))
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select to_regnamespace('pgqueue')").fetchone()
    assert found == (None,)


@pytest.mark.usefixtures("next_folder")
def test_the_sql_goes_from_any_revision_to_any_other(empty_dsn: str, dsn: str) -> None:
    run(dsn, migrate.sql(from_="0001"))
    assert migrate.status(dsn).current == "0002"
    run(empty_dsn, migrate.sql())
    assert differences(read_database(empty_dsn), read_database(dsn)) == []
    run(dsn, migrate.sql(to="0001", from_="0002"))
    assert migrate.status(dsn).current == "0001"


@pytest.mark.usefixtures("next_folder")
def test_percent_signs_and_colons_mean_nothing_in_a_migration(empty_dsn: str, dsn: str) -> None:
    migrate.upgrade(dsn)
    comments = read_database(dsn)["comments"]
    assert "pg_class extra 100%, %s, %% and :name at 10:30" in comments
    assert "pg_class extra 100% at 10::30" in comments
    run(empty_dsn, migrate.sql())
    assert differences(read_database(empty_dsn), read_database(dsn)) == []


@pytest.mark.usefixtures("next_folder")
def test_the_sql_refuses_a_database_at_another_revision(dsn: str) -> None:
    script = migrate.sql(to="0001", from_="0002")
    with pytest.raises(
        psycopg.errors.RaiseException, match="for a pgqueue schema at revision 0002"
    ):
        run(dsn, script)
    assert migrate.status(dsn).current == "0001"


def test_the_sql_is_one_transaction_with_a_lock_timeout() -> None:
    statements = [line for line in migrate.sql().splitlines() if line and line[:2] != "--"]
    assert statements[0] == "BEGIN;"
    assert statements[1] == "set local lock_timeout = '10s';"
    assert statements[-1] == "COMMIT;"
    assert len(re.findall(r"^(?:BEGIN|COMMIT);$", "\n".join(statements), re.MULTILINE)) == 2


def test_nothing_to_run_is_said() -> None:
    assert migrate.sql(from_="0001").endswith("the schema is at 0001 already, nothing to run.\n")


def test_an_unknown_revision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"from_='0009': no such revision; known are 0001"):
        migrate.sql(from_="0009")
    with pytest.raises(ConfigError, match=r"to='1': no such revision; known are 0001"):
        migrate.sql(to="1")
