"""Up, down, and all that can stand in the way."""

from __future__ import annotations

import logging
import re
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgqueue import migrate
from pgqueue.errors import ConfigError, ConnectionFailed, SchemaError
from pgqueue.migrate_transaction import LOCK, _require_server
from tests.migrations.catalog import QUERIES, differences, read_database
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Server

NOTHING: dict[str, list[str]] = {kind: [] for kind in QUERIES}
MIGRATE = "import sys; from pgqueue.migrate import upgrade; print(upgrade(sys.argv[1]))"


def fetch(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def run(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """A role that may log in. Ask for it before the database: what it owns goes with that."""
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    run(server.dsn(), f"create role {name} login password 'p%4 0@:/''\\'")
    yield name
    run(server.dsn(), f"drop role {name}")


def as_role(dsn: str, role: str) -> str:
    return make_conninfo(dsn, user=role, password="p%4 0@:/'\\")


def test_up_down_and_up_again_gives_the_same_schema(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn)
    first = read_database(empty_dsn)
    assert first["functions"]
    migrate.downgrade(empty_dsn, "base")
    assert read_database(empty_dsn) == NOTHING
    migrate.upgrade(empty_dsn)
    assert differences(first, read_database(empty_dsn)) == []


def test_down_to_base_leaves_nothing_behind(dsn: str) -> None:
    migrate.downgrade(dsn, "base")
    assert fetch(dsn, "select nspname from pg_namespace where nspname = 'pgqueue'") == []
    migrate.downgrade(dsn, "base")


def test_an_upgrade_of_a_current_database_changes_nothing(dsn: str) -> None:
    where = "select xmin, ctid, version_num from pgqueue.alembic_version"
    before = fetch(dsn, where)
    migrate.upgrade(dsn)
    migrate.upgrade(dsn, to="0001")
    assert fetch(dsn, where) == before
    assert [row[-1] for row in before] == ["0001"]


@pytest.mark.usefixtures("next_folder")
def test_each_revision_is_reached_by_name(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, to="0001")
    assert fetch(empty_dsn, "select to_regclass('pgqueue.extra')") == [(None,)]
    migrate.upgrade(empty_dsn)
    assert fetch(empty_dsn, "select count(*) from pgqueue.extra") == [(0,)]
    migrate.upgrade(empty_dsn, to="0001")
    assert migrate.status(empty_dsn).current == "0002"
    migrate.downgrade(empty_dsn, "0001")
    assert fetch(empty_dsn, "select to_regclass('pgqueue.extra')") == [(None,)]
    assert migrate.status(empty_dsn).current == "0001"


def test_a_migration_that_fails_in_the_middle_changes_nothing(
    empty_dsn: str, next_folder: Path
) -> None:
    script = next_folder / "versions" / "0002_extra.sql"
    script.write_text(script.read_text().replace("id bigint", "id no_type"))
    with pytest.raises(SchemaError, match=r'nothing was changed: type "no_type" does not exist'):
        migrate.upgrade(empty_dsn)
    assert read_database(empty_dsn) == NOTHING
    assert migrate.status(empty_dsn).current is None


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_of_two_upgrades_at_once_the_second_finds_nothing_to_do(
    empty_dsn: str, isolation: str
) -> None:
    name = conninfo_to_dict(empty_dsn)["dbname"]
    run(empty_dsn, f"alter database {name} set default_transaction_isolation = '{isolation}'")
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    command = [sys.executable, "-W", "error", "-c", MIGRATE, empty_dsn]
    with psycopg.connect(empty_dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [LOCK])
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as two,
        ):
            wait_until(lambda: holder.execute(waiting).fetchone() == (2,), what="two waiting")
            holder.execute("select pg_advisory_unlock(%s)", [LOCK])
            ends = [process.communicate(timeout=30) for process in (one, two)]
    assert sorted(ends) == [(b"False\n", b""), (b"True\n", b"")]
    assert (one.returncode, two.returncode) == (0, 0)
    assert fetch(empty_dsn, "select version_num from pgqueue.alembic_version") == [("0001",)]


def test_a_migration_that_runs_elsewhere_is_named_when_it_takes_too_long(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [LOCK])
        pid = holder.info.backend_pid
        message = rf"no lock within 0\.05 s: pid {pid} holds the migration lock \(idle"
        with pytest.raises(SchemaError, match=message):
            migrate.upgrade(empty_dsn, lock_timeout=0.05)
    assert read_database(empty_dsn) == NOTHING


def test_a_long_transaction_on_a_table_stops_the_migration_and_is_named(dsn: str) -> None:
    before = read_database(dsn)
    with psycopg.connect(dsn) as reader:
        reader.execute("select count(*) from pgqueue.jobs")
        pid = reader.info.backend_pid
        message = rf"no lock within 0\.05 s: pid {pid} holds pgqueue\.jobs \(idle in transaction"
        with pytest.raises(SchemaError, match=message):
            migrate.downgrade(dsn, "base", lock_timeout=0.05)
    assert read_database(dsn) == before
    assert migrate.status(dsn).state == "current"


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "10"])
def test_a_lock_timeout_that_cannot_work_is_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match=rf"lock_timeout={re.escape(repr(limit))}: expected"):
        migrate.upgrade("dbname=nowhere", lock_timeout=limit)


def test_a_foreign_object_in_the_schema_stops_the_way_to_base(dsn: str) -> None:
    run(dsn, "create table pgqueue.mine (id bigint)")
    before = read_database(dsn)
    with pytest.raises(SchemaError, match=r"table pgqueue\.mine depends on schema pgqueue.*drop"):
        migrate.downgrade(dsn, "base")
    assert read_database(dsn) == before


def test_a_foreign_view_of_our_table_stops_the_way_to_base(dsn: str) -> None:
    run(dsn, "create view public.dead as select * from pgqueue.jobs where state = 'dead'")
    with pytest.raises(SchemaError, match=r"view dead depends on table pgqueue\.jobs"):
        migrate.downgrade(dsn, "base")
    assert fetch(dsn, "select count(*) from public.dead") == [(0,)]


def test_a_schema_that_somebody_made_beforehand_is_used(empty_dsn: str) -> None:
    run(empty_dsn, "create schema pgqueue; grant all on schema pgqueue to public")
    migrate.upgrade(empty_dsn)
    assert [line for line in read_database(empty_dsn)["grants"] if "PUBLIC" in line] == []


def test_a_table_that_stands_in_the_way_is_named(empty_dsn: str) -> None:
    run(empty_dsn, "create schema pgqueue; create table pgqueue.jobs (id bigint)")
    with pytest.raises(SchemaError, match=r'nothing was changed: relation "jobs" already exists'):
        migrate.upgrade(empty_dsn)
    assert migrate.status(empty_dsn).state == "missing"


def test_the_users_own_alembic_is_left_alone(empty_dsn: str) -> None:
    own = "select version_num from public.alembic_version"
    run(empty_dsn, "create table alembic_version (version_num varchar(32) not null)")
    run(empty_dsn, "insert into alembic_version values ('ae1027a6acf')")
    migrate.upgrade(empty_dsn)
    assert fetch(empty_dsn, own) == [("ae1027a6acf",)]
    migrate.downgrade(empty_dsn, "base")
    assert fetch(empty_dsn, own) == [("ae1027a6acf",)]


def test_a_call_from_within_the_users_alembic_is_refused_and_harms_neither(empty_dsn: str) -> None:
    users = EnvironmentContext(Config(), ScriptDirectory(str(migrate.folder())))
    with users:
        with pytest.raises(SchemaError, match="another Alembic run is under way in this process"):
            migrate.upgrade(empty_dsn)
        assert context.is_offline_mode() is False
    assert migrate.status(empty_dsn).state == "missing"
    migrate.upgrade(empty_dsn)


def test_a_hostile_search_path_does_not_bend_the_schema(empty_dsn: str, built_dsn: str) -> None:
    name = conninfo_to_dict(empty_dsn)["dbname"]
    run(empty_dsn, "create schema hostile; create table hostile.jobs (id bigint)")
    run(empty_dsn, f"alter database {name} set search_path = hostile, public")
    migrate.upgrade(empty_dsn)
    run(empty_dsn, f"alter database {name} reset all")
    assert differences(read_database(empty_dsn), read_database(built_dsn)) == []


def test_a_migration_has_a_lock_timeout_and_no_statement_timeout(
    dsn: str, next_folder: Path
) -> None:
    run(dsn, f"alter database {conninfo_to_dict(dsn)['dbname']} set statement_timeout = '1min'")
    script = next_folder / "versions" / "0002_extra.sql"
    seen = "as select current_setting('statement_timeout') as id, current_setting('lock_timeout')"
    script.write_text(script.read_text().replace("(id bigint)", seen))
    migrate.upgrade(dsn, lock_timeout=3)
    assert fetch(dsn, "select * from pgqueue.extra") == [("0", "3s")]


def test_the_owner_of_the_database_may_migrate(role: str, empty_dsn: str) -> None:
    run(empty_dsn, f"alter database {conninfo_to_dict(empty_dsn)['dbname']} owner to {role}")
    migrate.upgrade(as_role(empty_dsn, role))
    owners = "select nspowner::regrole::text from pg_namespace where nspname = 'pgqueue'"
    assert fetch(empty_dsn, owners) == [(role,)]
    migrate.downgrade(as_role(empty_dsn, role), "base")
    assert read_database(empty_dsn) == NOTHING


def test_a_role_that_may_not_migrate_is_told_who_may(role: str, dsn: str, empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match=rf"role '{role}' may not do it \(permission denied for"):
        migrate.upgrade(as_role(empty_dsn, role))
    with pytest.raises(SchemaError, match=rf"role '{role}' may not read pgqueue\.alembic_version"):
        migrate.status(as_role(dsn, role))


def test_any_dsn_of_libpq_is_understood(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = conninfo_to_dict(empty_dsn)
    keywords = make_conninfo("", **parts)
    assert "://" not in keywords
    migrate.upgrade(keywords)
    assert migrate.status(empty_dsn.replace("postgresql://", "postgresql+psycopg://")).current
    for variable, part in {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user"}.items():
        if parts.get(part):
            monkeypatch.setenv(variable, str(parts[part]))
    monkeypatch.setenv("PGDATABASE", str(parts["dbname"]))
    monkeypatch.setenv("PGPASSWORD", str(parts.get("password") or "none"))
    assert migrate.status("").state == "current"
    migrate.downgrade("", "base")
    assert migrate.status(empty_dsn).state == "missing"


def test_a_database_name_with_a_percent_sign_is_no_trouble(server: Server, empty_dsn: str) -> None:
    old = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    odd = sql.Identifier("100% 'quoted' @:/")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} rename to {}").format(old, odd))
        dsn = make_conninfo(server.dsn(), dbname=odd.as_string()[1:-1])
        try:
            migrate.upgrade(dsn)
            assert migrate.status(dsn).state == "current"
        finally:
            connection.execute(sql.SQL("alter database {} rename to {}").format(odd, old))


def test_a_server_that_does_not_answer_is_a_connection_failure(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="cannot connect to host="):
        migrate.upgrade(f"host={tmp_path} dbname=nowhere")


def test_a_revision_that_does_not_exist_is_refused_before_any_connection() -> None:
    for call in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(ConfigError, match=r"to='0009': no such revision; known are 0001"):
            call("host=/nowhere", to="0009")


def test_a_database_of_a_newer_version_is_not_touched(dsn: str) -> None:
    run(dsn, "update pgqueue.alembic_version set version_num = '0007'")
    before = read_database(dsn)
    for call, to in ((migrate.upgrade, "head"), (migrate.downgrade, "base")):
        with pytest.raises(
            SchemaError, match=r"at revision '0007', which this pgqueue .* not have"
        ):
            call(dsn, to=to)
    assert read_database(dsn) == before


@pytest.mark.usefixtures("next_folder")
def test_down_is_not_up(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="the pgqueue schema is missing in database"):
        migrate.downgrade(empty_dsn, "0001")
    migrate.upgrade(empty_dsn, to="0001")
    with pytest.raises(SchemaError, match=r"cannot go down to '0002': database .* is at '0001'"):
        migrate.downgrade(empty_dsn, "0002")
    migrate.downgrade(empty_dsn, "0001")
    assert migrate.status(empty_dsn).current == "0001"


def test_a_server_before_14_is_refused() -> None:
    with pytest.raises(SchemaError, match="is PostgreSQL 13; pgqueue needs 14 or newer"):
        _require_server(130022)
    _require_server(140000)


def test_a_migration_writes_nothing_to_the_hosts_log(
    empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    alembic = logging.getLogger("alembic.runtime.migration")
    level = alembic.level
    migrate.upgrade(empty_dsn)
    assert [record.getMessage() for record in caplog.records] == []
    assert alembic.level == level
