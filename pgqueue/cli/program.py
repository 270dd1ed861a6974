"""The program: its commands, put together."""

from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from pgqueue._version import __version__
from pgqueue.cli import (
    actions,
    demo,
    enqueue,
    jobs,
    migrate,
    queues,
    retention,
    status,
    worker,
)

ORDER: Final = (
    *("migrate", "worker", "status", "jobs", "enqueue"),
    *("queues", "retention", "prune", "demo"),
)
"""The commands as a new user meets them."""


class _Program(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - the base's signature
        return sorted(self.commands, key=lambda name: (*ORDER, name).index(name))


program = typer.Typer(
    name="pgqueue",
    cls=_Program,
    help="A transactional job queue in your own PostgreSQL.",
    rich_markup_mode=None,  # its panels cut the names of long options at 80 columns
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
program.add_typer(migrate.group, name="migrate")
program.command("worker")(worker.run_worker)
program.command("enqueue")(enqueue.enqueue)
for action in (actions.requeue, actions.cancel, actions.delete):
    jobs.group.command()(action)
program.add_typer(jobs.group, name="jobs")
program.add_typer(queues.group, name="queues")
program.add_typer(retention.group, name="retention")
program.command("prune")(retention.prune)
program.command("status")(status.status)
program.command("demo", **demo.SETTINGS)(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgqueue {__version__}")
        raise typer.Exit


@program.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
