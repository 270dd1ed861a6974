"""pgqueue queues: how deep queues may get."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from pgqueue.cli.options import Dsn, Json, database
from pgqueue.cli.output import for_people, print_json, print_table, say
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from pgqueue.views import QueueLimit

group = typer.Typer(help="List and set the limits of queues.", no_args_is_help=True)

_COLUMNS: Final = ("queue", "max depth", "depth", "full", "counted")


@group.command("list")
def list_queues(dsn: Dsn = None, as_json: Json = False) -> None:
    """List the queues that have settings, with the last count of their due jobs."""
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
