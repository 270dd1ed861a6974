"""pgqueue jobs requeue, cancel, delete: by id or by filter, with preview, cap and pace."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pgqueue.cli.confirm import confirm
from pgqueue.cli.enqueue import json_object
from pgqueue.cli.failures import NOTHING_MATCHED
from pgqueue.cli.filters import (
    All,
    ErrorTypes,
    Fingerprints,
    Limit,
    Queues,
    Since,
    States,
    Tasks,
    Until,
    job_filter,
    span,
)
from pgqueue.cli.options import Dsn, Json, Yes, database
from pgqueue.cli.output import counted, print_json, warn
from pgqueue.cli.selection import CAP, Selection
from pgqueue.cli.telling import Telling
from pgqueue.errors import ConfigError
from pgqueue.job import FINAL_STATES

if TYPE_CHECKING:
    from pgqueue.actions import Edit, Report
    from pgqueue.app import PgQueue
    from pgqueue.inspection import Inspector
    from pgqueue.job import State
    from pgqueue.operations import Operator
    from pgqueue.views import Count, JobFilter

LIVE_STATES: "Final[tuple[State, ...]]" = ("ready", "blocked", "running")

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", show_default=False, help="Ids; - reads them from standard input."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Rate = Annotated[float | None, typer.Option("--rate", help="Jobs in a second, at most.")]

Action = Callable[..., "Report"]


def requeue(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    fingerprints: Fingerprints = None,
    error_types: ErrorTypes = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    spread: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Due at random moments within 10m, 2h, ..."),
    ] = None,
    args: Annotated[
        str | None, typer.Option("--args", metavar="JSON", help="New arguments; of one job.")
    ] = None,
    set_args: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A new argument: JSON, or text."),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", "-A", metavar="MODULE:APP", help="Checks, and encrypts, arguments."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who asks; kept with it. [default: you@this-host]")
    ] = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Make jobs ready again.

    By id, or those that a filter matches; dead ones unless --state.
    """
    which = job_filter(
        states=states,
        queues=queues,
        tasks=tasks,
        fingerprints=fingerprints,
        error_types=error_types,
        since=since,
        until=until,
    )
    chosen = Selection("requeue", ids or [], which, limit, everything, ("dead",))
    who = _who() if by is None else by
    within = 0 if spread is None else span("--spread", spread)
    loaded = _loaded(app)
    dsn = dsn or (loaded.dsn if loaded else None)
    edit = _edit(loaded, args, set_args, chosen)

    def action(operator: "Operator") -> Action:
        return partial(operator.requeue, rate=rate, spread=within, by=who, edit=edit)

    _act(chosen, action, dsn, as_json, yes=True, dry_run=dry_run)


def cancel(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    fingerprints: Fingerprints = None,
    error_types: ErrorTypes = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs; running ones are asked to end.

    By id, or those that a filter matches.
    """
    which = job_filter(
        states=states,
        queues=queues,
        tasks=tasks,
        fingerprints=fingerprints,
        error_types=error_types,
        since=since,
        until=until,
    )
    chosen = Selection("cancel", ids or [], which, limit, everything, LIVE_STATES)
    _act(
        chosen,
        lambda operator: partial(operator.cancel, rate=rate),
        dsn,
        as_json,
        yes=yes,
        dry_run=dry_run,
    )


def delete(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    fingerprints: Fingerprints = None,
    error_types: ErrorTypes = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete jobs that have ended.

    By id, or those that a filter matches.
    """
    which = job_filter(
        states=states,
        queues=queues,
        tasks=tasks,
        fingerprints=fingerprints,
        error_types=error_types,
        since=since,
        until=until,
    )
    chosen = Selection("delete", ids or [], which, limit, everything, FINAL_STATES)
    _act(
        chosen,
        lambda operator: partial(operator.delete, rate=rate),
        dsn,
        as_json,
        yes=yes,
        dry_run=dry_run,
    )


def _act(
    selection: Selection,
    action: Callable[["Operator"], Action],
    dsn: str | None,
    as_json: bool,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    with database(dsn) as app:
        ids = selection.find(app.inspector)
        first = list(islice(ids, CAP + 1))
        if dry_run:
            _preview(app, selection, first, ids, as_json)
            return
        if len(first) > CAP and selection.capped:
            raise ConfigError(
                f"more than {CAP} jobs match: {selection.verb} the oldest with --limit N, or all "
                "with --all; --dry-run shows what they are"
            )
        if first and not selection.ids and not yes:
            confirm(f"{selection.verb} {_at_least(first)}")
        with Telling(as_json=as_json) as telling:
            chosen = chain(first, ids)
            action(app.operator)(chosen, states=selection.states, on_batch=telling.add)
            if selection.limit is not None:
                telling.left = _left(app.inspector, selection.filter)
    raise typer.Exit(telling.code)


def _at_least(first: list[int]) -> str:
    return counted(len(first)) if len(first) <= CAP else f"more than {CAP} jobs"


def _left(inspector: "Inspector", which: "JobFilter") -> "Count":
    from pgqueue.views import COUNT_CAP, Count

    return Count.capped(sum(1 for _ in inspector.ids(which, limit=COUNT_CAP + 1)))


def _preview(
    app: "PgQueue", selection: Selection, first: list[int], ids: Iterator[int], as_json: bool
) -> None:
    from pgqueue.cli.details import preview

    looked_at = first[:CAP]
    jobs = len(first) + sum(1 for _ in ids)
    found = app.inspector.groups(ids=looked_at)
    if as_json:
        print_json({"jobs": jobs, "looked_at": len(looked_at), "groups": found.groups})
    else:
        preview(selection.verb, jobs, len(looked_at), found)
    raise typer.Exit(0 if jobs else NOTHING_MATCHED)


def _who() -> str | None:
    """Who sits at this terminal; None, and so the database role, where nobody knows."""
    import getpass
    import socket

    from pgqueue.operations import ACTOR_LENGTH

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:ACTOR_LENGTH]
    except (OSError, KeyError):  # a user id without a name
        return None


def _loaded(name: str | None) -> "PgQueue | None":
    import os
    from pathlib import Path

    from pgqueue.discovery import load_app

    if name is None:
        return None
    return load_app(name, cwd=Path.cwd(), environ=os.environ)[0]


def _edit(
    loaded: "PgQueue | None", args: str | None, pairs: list[str] | None, selection: Selection
) -> "Edit | None":
    from pgqueue import editing
    from pgqueue.config import Settings

    if args is None and not pairs:
        return None
    if len(selection.ids) != 1 or selection.ids == ["-"]:
        raise ConfigError("--args and --set are for one job: name its id")
    if args is not None and pairs:
        raise ConfigError("--args gives all arguments, --set some of them: not both")
    if loaded is None:
        warn("arguments are checked as JSON alone; -A module:app checks them by the task")
    tasks, codec = (loaded.tasks, loaded.codec) if loaded else ({}, None)
    limit = (loaded.settings if loaded else Settings()).max_payload
    options = {"set_args": dict(map(_pair, pairs))} if pairs else {"args": json_object(args or "")}
    return editing.chosen(tasks, codec, limit, options)[1]


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError(f"--set {text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
