"""pgqueue retention and pgqueue prune: how long jobs are kept after their end."""

from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from pgqueue.cli.confirm import confirm
from pgqueue.cli.failures import NOTHING_MATCHED
from pgqueue.cli.options import Dsn, Json, Yes, database
from pgqueue.cli.output import counted, print_json, print_table, say, warn
from pgqueue.errors import ConfigError
from pgqueue.retention import parse, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.job import State
    from pgqueue.views import RetentionRule

group = typer.Typer(help="List and set how long jobs are kept.", no_args_is_help=True)

Task = Annotated[str, typer.Argument(help="The task's name, or '*' for all others.")]
FinalState = Annotated[
    str, typer.Argument(metavar="STATE", help="succeeded, dead, cancelled, expired.")
]
_COLUMNS: Final = ("task", "state", "keep", "set by")
_NOTHING_SAID: Final = (
    "nobody has said yet how long jobs are kept: start a worker once, set it (pgqueue retention "
    "set), or say --older-than"
)
_PREVIEW: Final = ("task", "state", "jobs")


@group.command("list")
def list_rules(dsn: Dsn = None, as_json: Json = False) -> None:
    """List how long jobs are kept after their end, by task and state."""
    with database(dsn) as app:
        rules = app.retention.all()
    if as_json:
        print_json(rules)
    else:
        cells = ((rule.task, rule.state, shown(rule.keep), rule.set_by) for rule in rules)
        print_table(_COLUMNS, cells, empty="no worker has said anything yet: nothing is pruned")


@group.command("set")
def set_rule(
    task: Task,
    state: FinalState,
    keep: Annotated[str, typer.Argument(help="Such as 12h, 7d, or forever.")],
    *,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Set how long jobs are kept, against what the app says."""
    seconds = parse(keep)
    with database(dsn) as app:
        rule = app.retention.set(task, cast("State", state), seconds)
    if as_json:
        print_json(rule)
    else:
        say(_sentence(rule))


@group.command("reset")
def reset_rule(task: Task, state: FinalState, *, dsn: Dsn = None) -> None:
    """Take back what was set. The next start of a worker writes what its app says."""
    with database(dsn) as app:
        done = app.retention.reset(task, cast("State", state))
    if not done:
        warn(f"nothing was set for {task} {state}")
        raise typer.Exit(NOTHING_MATCHED)
    say(f"{task} {state}: the next start of a worker writes what its app says")


def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Since a job's end, whatever its retention: 12h, 7d."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="Jobs in this final state. Repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete jobs that are past their retention.

    With --older-than what ended longer ago than that; dead jobs then only with --state dead.
    """
    age = None if older_than is None else parse(older_than)
    if older_than is not None and age is None:
        raise ConfigError(f"--older-than {older_than}: nothing is older than that")
    wanted = cast("list[State]", states or [])
    with database(dsn) as app:
        if dry_run or (older_than is not None and not yes):
            found = app.retention.preview(older_than=age, states=wanted)
            if dry_run:
                _show(found, as_json=as_json)
                return
            if found:
                confirm(f"delete {counted(sum(found.values()))} by age")
        if age is None and not app.retention.all():
            warn(_NOTHING_SAID)
        gone = app.retention.prune(older_than=age, states=wanted)
    if as_json:
        print_json({"deleted": gone})
    else:
        say(f"deleted {counted(gone)}")


def _show(found: "Mapping[tuple[str, State], int]", *, as_json: bool) -> None:
    rows = sorted((task, state, count) for (task, state), count in found.items())
    if as_json:
        print_json([dict(zip(_PREVIEW, row, strict=True)) for row in rows])
    else:
        print_table(_PREVIEW, rows, empty="nothing would be deleted")


def _sentence(rule: "RetentionRule") -> str:
    whose = "of all other tasks" if rule.task == "*" else f"of {rule.task}"
    how_long = "for ever" if rule.keep is None else f"for {shown(rule.keep)} after their end"
    return f"{rule.state} jobs {whose} are kept {how_long}"
