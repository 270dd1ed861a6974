"""pgqueue jobs: look at jobs; actions.py acts on them."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pgqueue.cli.failures import FAILED
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
)
from pgqueue.cli.options import Dsn, Json, database
from pgqueue.cli.output import for_people, print_json, print_table

if TYPE_CHECKING:
    from pgqueue.inspection import Inspector
    from pgqueue.views import JobFilter, JobRow

group = typer.Typer(help="Look at jobs; requeue, cancel or delete them.", no_args_is_help=True)

_COLUMNS: Final = ("id", "state", "queue", "task", "priority", "attempt", "args")
SHOWN: Final = 50
PAGE: Final = 500
"""Rows of one read: a long list is printed from many short transactions."""


@group.command("list")
def list_jobs(
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
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first: 50, or as --limit or --all says."""
    which = job_filter(
        states=states,
        queues=queues,
        tasks=tasks,
        fingerprints=fingerprints,
        error_types=error_types,
        since=since,
        until=until,
    )
    with database(dsn) as app:
        wanted = limit if limit or everything else SHOWN
        rows = _rows(app.inspector, which, wanted)
        if as_json:
            print_json(list(rows))
        else:
            print_table(_COLUMNS, map(_cells, rows), empty="no jobs match")


def _rows(inspector: "Inspector", which: "JobFilter", limit: int | None) -> Iterator["JobRow"]:
    after = None
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(PAGE, limit)
        page = inspector.jobs(which, limit=size, after=after)
        yield from page
        if len(page) < size:
            return
        after = page[-1].id
        limit = None if limit is None else limit - size


def _cells(job: "JobRow") -> tuple[object, ...]:
    attempt = f"{job.attempt}/{job.max_attempts}"
    lane = (job.queue, job.task, job.priority, attempt)
    if for_people():
        return (job.id, _today(job.shown_state), *lane, job.args)
    return (job.id, job.state, *lane, job.run_at, job.created_at, job.args)


def _today(state: str) -> str:
    """A state without the date of today: a row has little room."""
    return state.replace(f" {datetime.now().astimezone():%Y-%m-%d} ", " ")


@group.command()
def groups(
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    fingerprints: Fingerprints = None,
    error_types: ErrorTypes = None,
    since: Since = None,
    until: Until = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Group dead jobs by what killed them.

    With --state also cancelled and expired ones. Looks at the newest 10,000 that match.
    """
    from pgqueue.cli.details import print_groups

    which = job_filter(
        states=states or ["dead"],
        queues=queues,
        tasks=tasks,
        fingerprints=fingerprints,
        error_types=error_types,
        since=since,
        until=until,
    )
    with database(dsn) as app:
        found = app.inspector.groups(which)
    if as_json:
        print_json(found)
    else:
        print_groups(found)


@group.command()
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID")], dsn: Dsn = None, as_json: Json = False
) -> None:
    """Show everything about a job.

    Every attempt with its traceback, and every requeue.
    """
    from pgqueue.cli.details import print_job

    with database(dsn) as app:
        job = app.job(job_id)
    if as_json:
        print_json(job)
    else:
        print_job(job)


@group.command()
def watch(
    job_id: Annotated[int, typer.Argument(metavar="ID")],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    dsn: Dsn = None,
) -> None:
    """Watch a job and its progress until it has ended.

    Exit code 0 when it succeeded, 1 otherwise.
    """
    from pgqueue.cli.watch import follow

    with database(dsn) as app:
        job = follow(lambda: app.job(job_id), every)
    raise typer.Exit(0 if job.state == "succeeded" else FAILED)
