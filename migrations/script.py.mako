"""${message}"""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def run(name: str) -> None:
    """Run a file of this folder as it stands: `:` and `%` mean nothing in it."""
    sql = Path(__file__).with_name(f"{revision}_{name}.sql").read_text("utf-8")
    if context.is_offline_mode():
        op.get_context().impl.static_output(sql)
    else:
        op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
