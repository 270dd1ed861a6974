"""pgqueue's schema inside of Django's migrations: the same SQL, in Django's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.migrations.operations.base import Operation

from pgqueue import migrate
from pgqueue.contrib.django.configuration import databases, require_postgresql

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_BEGIN: Final = "\nBEGIN;\n"
_COMMIT: Final = "\nCOMMIT;\n"


def current_revision(connection: BaseDatabaseWrapper) -> str | None:
    """The revision that a database is at; None when pgqueue is not installed there."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass('pgqueue.alembic_version') is not null")
        if not cursor.fetchone()[0]:
            return None
        cursor.execute("select max(version_num) from pgqueue.alembic_version")
        current: str | None = cursor.fetchone()[0]
        return current


class Revision(Operation):
    """Bring pgqueue's schema from one revision to the next, and back.

    A database that is there already, by `pgqueue migrate` for one, stays as it is. Databases that
    hold no jobs (see `configuration.databases`) are left alone.

    Args:
        before: the revision below, or "base".
        after: the revision of this migration.
    """

    reversible = True
    reduces_to_sql = True
    atomic = True

    def __init__(self, before: str, after: str) -> None:
        self.before, self.after = before, after

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """As Django's writer of migrations wants it."""
        return type(self).__name__, [self.before, self.after], {}

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models are unmanaged: their state is said by other operations."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Upgrade, unless the database is there already."""
        del app_label, from_state, to_state
        if self._is_for(schema_editor, lambda current: current is None or current < self.after):
            schema_editor.execute(_statements(self.before, self.after), params=None)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Downgrade; below the first revision every job is gone."""
        del app_label, from_state, to_state
        if self._is_for(schema_editor, lambda current: current == self.after):
            schema_editor.execute(_statements(self.after, self.before), params=None)

    def describe(self) -> str:
        """A line for people."""
        return f"Bring the pgqueue schema from {self.before} to {self.after}"

    @staticmethod
    def _is_for(schema_editor: Any, wanted: Any) -> bool:
        connection = schema_editor.connection
        if connection.alias not in databases():
            return False
        require_postgresql(connection.alias)
        return bool(schema_editor.collect_sql or wanted(current_revision(connection)))


def _statements(start: str, end: str) -> str:
    """The SQL of `pgqueue migrate --sql` without its own transaction: Django has one."""
    script = migrate.sql(to=end, from_=start)
    _, begin, script = script.partition(_BEGIN)
    script, commit, _ = script.rpartition(_COMMIT)
    if not (begin and commit):
        raise AssertionError(f"the SQL from {start} to {end} is not one transaction")
    return script.strip()
