"""The project around the jobs: settings, checks, migrations, manage.py, models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import NotSupportedError, connections
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects import postgresql

from pgqueue import migrate, revision
from pgqueue.contrib.django import checks
from pgqueue.contrib.django.configuration import configuration, databases, dsn_of, queues
from pgqueue.contrib.django.models import Attempt, Job, Progress, Worker
from pgqueue.contrib.django.schema import current_revision
from pgqueue.errors import ConfigError
from pgqueue.schema import metadata

if TYPE_CHECKING:
    from types import ModuleType

    from sqlalchemy import Column

    Sql = psycopg.Connection[Any]


def found(**options: Any) -> list[str]:
    return [message.id for message in run_checks(**options) if message.id.startswith("pgqueue")]


# -- settings and checks -------------------------------------------------------------------------


def test_a_project_in_order_has_nothing_to_report(project: dict[str, str]) -> None:
    assert found(databases=list(project)) == []
    assert databases() == {"default", "other"}
    assert queues("default") == ["default", "mail"]
    assert queues("other") == ["default"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ([], "expected a dict"),
        ({"DATABSE": "default"}, "no key 'DATABSE'; it takes DATABASE, IMPORTS, SETTINGS"),
        ({"SETTINGS": {"thread": 4}}, "no 'thread'; it takes"),
        ({"SETTINGS": {"threads": 0}}, "threads=0"),
        ({"IMPORTS": "shop.jobs"}, "expected a list of module names"),
    ],
)
def test_a_bad_setting_is_an_error_that_says_what_it_takes(
    project: dict[str, str], setting: Any, words: str
) -> None:
    del project
    with override_settings(PGQUEUE=setting):
        assert found() == ["pgqueue.E001"]
        with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
            configuration()


@pytest.mark.parametrize(("alias", "code"), [("nowhere", "E002"), ("lite", "E003")])
def test_a_database_that_cannot_hold_jobs_is_an_error(
    project: dict[str, str], alias: str, code: str
) -> None:
    del project
    with override_settings(PGQUEUE={"DATABASE": alias}):
        assert f"pgqueue.{code}" in found()


def test_a_task_backend_without_the_app_is_an_error(project: dict[str, str]) -> None:
    del project
    from pgqueue.contrib.django import PgQueueBackend  # noqa: PLC0415 - used once

    backend = PgQueueBackend("default", {})
    assert list(backend.check()) == []
    with override_settings(INSTALLED_APPS=["django.contrib.contenttypes"]):
        assert [error.id for error in backend.check()] == ["pgqueue.E004"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("AUTOCOMMIT", False, "W002"), ("DISABLE_SERVER_SIDE_CURSORS", True, "W003")],
)
def test_a_connection_that_behaves_otherwise_is_a_warning(
    project: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: Any, code: str
) -> None:
    del project
    monkeypatch.setitem(connections["default"].settings_dict, name, value)
    assert [message.id for message in checks.check_settings()] == [f"pgqueue.{code}"]


def test_a_missing_schema_is_a_warning_so_that_migrate_can_run(bare: str) -> None:
    with override_settings(PGQUEUE={"DATABASE": bare}):
        [message] = checks.check_schema(databases=[bare])
    assert message.id == "pgqueue.W001"
    assert "missing" in message.msg
    assert message.hint == f"Run manage.py migrate pgqueue --database {bare}."


def test_the_dsn_is_that_of_django(project: dict[str, str], monkeypatch: Any) -> None:
    known = connections["default"].settings_dict
    monkeypatch.setitem(known["OPTIONS"], "assume_role", "pg_monitor")
    monkeypatch.setitem(known["OPTIONS"], "pool", True)
    with psycopg.connect(dsn_of("default")) as connection:
        assert connection.info.dbname == conninfo_to_dict(project["default"])["dbname"]
        assert connection.execute("select current_role").fetchone() == ("pg_monitor",)


# -- migrations ----------------------------------------------------------------------------------


def schema(alias: str) -> str | None:
    return current_revision(connections[alias])


def test_the_migrations_reach_the_newest_revision(project: dict[str, str]) -> None:
    del project
    loader = MigrationLoader(None)
    [(_, newest)] = loader.graph.leaf_nodes("pgqueue")
    assert newest.partition("_")[0] == revision.HEAD
    assert schema("default") == revision.HEAD


def test_no_migration_is_missing(project: dict[str, str]) -> None:
    del project
    call_command("makemigrations", "pgqueue", check=True, dry_run=True, verbosity=0)


def test_migrate_installs_adopts_and_removes_the_schema(bare: str, empty_dsn: str) -> None:
    with override_settings(PGQUEUE={"DATABASE": bare}):
        call_command("migrate", "pgqueue", database=bare, verbosity=0)
        assert schema(bare) == revision.HEAD
        call_command("migrate", "pgqueue", "zero", database=bare, verbosity=0)
        assert schema(bare) is None
        migrate.upgrade(empty_dsn)
        call_command("migrate", "pgqueue", database=bare, verbosity=0)
        assert schema(bare) == revision.HEAD


def test_databases_without_jobs_are_left_alone(bare: str) -> None:
    call_command("migrate", "pgqueue", database=bare, verbosity=0)
    assert schema(bare) is None
    call_command("migrate", "pgqueue", database="lite", verbosity=0)
    call_command("migrate", "pgqueue", "zero", database="lite", verbosity=0)


def test_a_database_that_is_not_postgresql_is_refused(project: dict[str, str]) -> None:
    del project
    with (
        override_settings(PGQUEUE={"DATABASE": "lite"}),
        pytest.raises(ConfigError, match="needs PostgreSQL"),
    ):
        call_command("migrate", "pgqueue", database="lite", verbosity=0, skip_checks=True)


def test_sqlmigrate_shows_the_schema(project: dict[str, str], capsys: Any) -> None:
    del project
    call_command("sqlmigrate", "pgqueue", "0001")
    said = capsys.readouterr().out
    assert "create table pgqueue.jobs" in said
    assert said.count("COMMIT;") == 1


# -- manage.py -----------------------------------------------------------------------------------


def test_manage_py_runs_every_command_on_the_projects_database(
    sql: Sql, tasks: ModuleType, capsys: Any
) -> None:
    result = tasks.add.enqueue(1)
    before = dict(os.environ)
    call_command("pgqueue", "jobs", "list")
    assert capsys.readouterr().out.startswith(f"{result.id}\tready\tdefault\t")
    call_command("pgqueue", "jobs", "cancel", result.id)
    assert sql.execute("select state from pgqueue.jobs").fetchone() == ("cancelled",)
    call_command("pgqueue", "--database", "other", "jobs", "list", "--json")
    assert capsys.readouterr().out.endswith("[]\n")
    assert dict(os.environ) == before


def test_manage_py_says_with_which_code_a_command_ended(tasks: ModuleType) -> None:
    del tasks
    with pytest.raises(CommandError, match="exit code 5") as raised:
        call_command("pgqueue", "jobs", "show", "999")
    assert raised.value.returncode == 5


def test_manage_py_refuses_a_database_that_does_not_exist(project: dict[str, str]) -> None:
    del project
    with pytest.raises(CommandError, match="'nowhere' is not in DATABASES"):
        call_command("pgqueue", "--database", "nowhere", "status")


def test_a_worker_of_manage_py_works_the_queues_of_tasks(project: dict[str, str]) -> None:
    del project
    from pgqueue.contrib.django.management.commands import pgqueue  # noqa: PLC0415 - used once

    assert pgqueue._with_queues(["worker"], "default") == ["worker", "--queues", "default,mail"]
    for told in (["worker", "-q", "mail"], ["worker", "--queues=mail"], ["status"]):
        assert pgqueue._with_queues(told, "default") == told


# -- models --------------------------------------------------------------------------------------


def test_the_models_read_and_refuse_to_write(sql: Sql, tasks: ModuleType) -> None:
    tasks.add.enqueue(1)
    job = Job.objects.get()
    sql.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) values (%s, 1, 1, 'dead')",
        [job.pk],
    )
    assert Attempt.objects.get(pk=(job.pk, 1)).outcome == "dead"
    assert not Worker.objects.exists()
    for write in (
        job.save,
        job.delete,
        Job.objects.all().delete,
        lambda: Job.objects.update(state="dead"),
        lambda: Job.objects.create(task="t"),
        lambda: Job.objects.bulk_create([job]),
    ):
        with pytest.raises(NotSupportedError, match="only read"):
            write()


LEFT_OUT = {
    "jobs": {"suspect"},  # pgqueue's own, as `sequence` and `suspect_id`
    "attempts": {"old_args"},  # may hold what a task redacts
    "workers": {"queues", "suspect_id"},  # an array: a field of Django's PostgreSQL app alone
    "progress": {"lease", "sequence"},
}


@pytest.mark.parametrize("model", [Job, Attempt, Progress, Worker])
@pytest.mark.usefixtures("project")
def test_the_models_are_what_their_tables_are(model: Any) -> None:
    table = metadata.tables[model._meta.db_table.replace('"', "")]
    said = {
        field.column: (field.db_type(connections["default"]), field.null)
        for field in model._meta.concrete_fields
        if field.column
    }
    stored = {
        column.name: (_type(column), bool(column.nullable))
        for column in table.columns
        if column.name not in LEFT_OUT[table.name]
    }
    assert said == stored


def _type(column: Column[Any]) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return column.type.compile(dialect).partition(" COLLATE")[0].lower()
