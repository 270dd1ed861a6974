"""Jobs, attempts, workers, idempotency keys, and what workers share"""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0001"
down_revision = None


def run(name: str) -> None:
    """Run a file of this folder as it stands: `:` and `%` mean nothing in it."""
    sql = Path(__file__).with_name(f"{revision}_{name}.sql").read_text("utf-8")
    if context.is_offline_mode():
        op.get_context().impl.static_output(sql)
    else:
        op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})


def upgrade() -> None:
    run("first")
    run("check_job")
    run("take_key")
    run("enqueue")
    run("remove_jobs")
    run("views")


def downgrade() -> None:
    run("first_down")
