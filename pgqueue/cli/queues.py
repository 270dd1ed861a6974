"""pgqueue queues: how deep queues may get, and how to empty one."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from pgqueue.cli.confirm import confirm
from pgqueue.cli.failures import NOTHING_MATCHED
from pgqueue.cli.options import Dsn, Json, Yes, database
from pgqueue.cli.output import counted, for_people, print_json, print_table, say
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from pgqueue.views import QueueLimit

group = typer.Typer(help="List and set the limits of queues, and empty one.", no_args_is_help=True)

_COLUMNS: Final = ("queue", "max depth", "depth", "full", "counted")


@group.command("list")
def list_queues(dsn: Dsn = None, as_json: Json = False) -> None:
    """List the queues that have limits, and how full they were."""
    with database(dsn) as app:
        found = app.queues.all()
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, map(_cells, found), empty="no queue has settings")


@group.command("set")
def set_queue(
    name: Annotated[str, typer.Argument(help="The queue's name.")],
    *,
    max_depth: Annotated[
        str,
        typer.Option(metavar="N|none", help="Due jobs that may wait before it takes no more."),
    ],
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Set a queue's limit, or take it away with none."""
    depth = _depth(max_depth)
    with database(dsn) as app:
        limit = app.set_queue(name, max_depth=depth)
    if as_json:
        print_json(limit)
    elif depth is None:
        say(f"queue {name} has no limit")
    else:
        say(f"queue {name} takes no new job while {depth} or more due jobs wait in it")


@group.command()
def purge(
    name: Annotated[str, typer.Argument(help="The queue's name.")],
    *,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="Jobs of this task. Repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Empty a queue: delete the jobs that wait in it, now or later due. Running ones go on."""
    from pgqueue.actions import WAITING
    from pgqueue.views import JobFilter

    with database(dsn) as app:
        which = JobFilter(states=WAITING, queues=[name], tasks=tasks or [])
        found = list(app.inspector.ids(which))
        if dry_run:
            _tell(len(found), "would delete", "would_delete", as_json=as_json)
            return
        if found and not yes:
            confirm(f"delete {counted(len(found))} that wait in queue {name}")
        report = app.operator.purge(found)
    _tell(len(report.done), "deleted", "deleted", as_json=as_json)
    if not report.done:
        raise typer.Exit(NOTHING_MATCHED)


def _tell(count: int, said: str, member: str, *, as_json: bool) -> None:
    if as_json:
        print_json({member: count})
    else:
        say(f"{said} {counted(count)}")


def _depth(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if text.isascii() and text.isdigit():
        return int(text[:20])
    raise ConfigError(f"--max-depth {text!r}: expected a number of jobs, or none for no limit")


def _cells(limit: "QueueLimit") -> tuple[object, ...]:
    full = "full" if limit.is_full else ""
    if limit.counted_ago is None:
        counted = "never" if for_people() else ""
    else:
        counted = f"{limit.counted_ago:.0f} s ago" if for_people() else f"{limit.counted_ago:.3f}"
    return limit.queue, limit.max_depth, limit.depth, full, counted
