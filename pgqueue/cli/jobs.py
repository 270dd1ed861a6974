"""pgqueue jobs: look at jobs, and act on them."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from pgqueue.cli.failures import FAILED, NOTHING_MATCHED, USAGE
from pgqueue.cli.options import Dsn, Json, Yes, database
from pgqueue.cli.output import counted, for_people, print_json, print_table, say, warn
from pgqueue.errors import ConfigError
from pgqueue.job import FINAL_STATES

if TYPE_CHECKING:
    from pgqueue.inspection import Inspector
    from pgqueue.job import State
    from pgqueue.operations import Operator, Report
    from pgqueue.views import JobFilter, JobRow

group = typer.Typer(help="Look at jobs; requeue, cancel or delete them.", no_args_is_help=True)

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", show_default=False)]
States = Annotated[
    list[str] | None, typer.Option("--state", help="Jobs in this state. Repeatable.")
]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", help="Jobs of this queue. Repeatable.")
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Jobs of this task. Repeatable.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")]
All = Annotated[
    bool, typer.Option("--all", help="All that match; without a filter, all there are.")
]

LIVE_STATES: "Final[tuple[State, ...]]" = ("ready", "blocked", "running")
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
    limit: Limit = None,
    everything: All = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first: 50, or as --limit or --all says."""
    which = _filter(states, queues, tasks)
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
        return (job.id, job.shown_state, *lane, job.args)
    return (job.id, job.state, *lane, job.run_at, job.created_at, job.args)


@group.command()
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID")], dsn: Dsn = None, as_json: Json = False
) -> None:
    """Show everything about a job, with the tracebacks of its attempts."""
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
    """Watch a job, with its progress, until it has ended: 0 when it succeeded, 1 otherwise."""
    from pgqueue.cli.watch import follow

    with database(dsn) as app:
        job = follow(lambda: app.job(job_id), every)
    raise typer.Exit(0 if job.state == "succeeded" else FAILED)


@group.command()
def requeue(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    limit: Limit = None,
    everything: All = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Make jobs ready again: by id, or those that a filter matches; dead ones unless --state."""
    which = _filter(states, queues, tasks)
    selection = Selection("requeue", ids or [], which, limit, everything, ("dead",))
    _act(selection, lambda operator: operator.requeue, dsn, as_json, yes=True)


@group.command()
def cancel(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    limit: Limit = None,
    everything: All = False,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs: by id, or those that a filter matches. Running ones are asked to end."""
    which = _filter(states, queues, tasks)
    selection = Selection("cancel", ids or [], which, limit, everything, LIVE_STATES)
    _act(selection, lambda operator: operator.cancel, dsn, as_json, yes=yes)


@group.command()
def delete(
    ids: Ids = None,
    *,
    states: States = None,
    queues: Queues = None,
    tasks: Tasks = None,
    limit: Limit = None,
    everything: All = False,
    yes: Yes = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete jobs that have ended: by id, or those that a filter matches."""
    which = _filter(states, queues, tasks)
    selection = Selection("delete", ids or [], which, limit, everything, FINAL_STATES)
    _act(selection, lambda operator: operator.delete, dsn, as_json, yes=yes)


@dataclass(frozen=True)
class Selection:
    """The jobs that an action is meant for: ids, or a filter with the states that make sense."""

    verb: str
    ids: list[int]
    which: "JobFilter"
    limit: int | None
    everything: bool
    default_states: tuple["State", ...]

    def __post_init__(self) -> None:
        filtered = self.everything or not self.which.matches_all
        if self.ids and (filtered or self.limit):
            raise ConfigError("name jobs by id or by a filter, not by both")
        if not self.ids and not filtered:
            raise ConfigError(
                f"name the jobs to {self.verb}: ids, --state, --queue, --task or --all"
            )

    @property
    def states(self) -> "Sequence[State]":
        """The states that the filter matches; empty when jobs are named by id."""
        return () if self.ids else self.which.states or self.default_states

    def find(self, inspector: "Inspector") -> list[int]:
        """The ids of the jobs now."""
        if self.ids:
            return self.ids
        return list(inspector.ids(replace(self.which, states=self.states), limit=self.limit))


def _filter(
    states: list[str] | None, queues: list[str] | None, tasks: list[str] | None
) -> "JobFilter":
    from pgqueue.views import JobFilter

    return JobFilter(
        states=cast("list[State]", states or []), queues=queues or [], tasks=tasks or []
    )


def _act(
    selection: Selection,
    action: Callable[["Operator"], Callable[..., "Report"]],
    dsn: str | None,
    as_json: bool,
    *,
    yes: bool,
) -> None:
    with database(dsn) as app:
        found = selection.find(app.inspector)
        if found and not selection.ids and not yes:
            _confirm(f"{selection.verb} {counted(len(found))}")
        report = action(app.operator)(found, states=selection.states)
    if as_json:
        refused = {id_: str(error) for id_, error in report.refused.items()}
        print_json({"done": report.done, "refused": refused})
    else:
        _tell(report)
    raise typer.Exit(_code(report))


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        warn(f"error: to {what} needs --yes where nobody can be asked")
        raise typer.Exit(USAGE)
    sys.stderr.write(f"{what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        warn("nothing was done")
        raise typer.Exit(FAILED)


def _tell(report: "Report") -> None:
    for word, count in sorted(Counter(report.done.values()).items()):
        text = "asked {} running to end" if word == "requested" else f"{word} {{}}"
        say(text.format(counted(count)))
    for error in report.refused.values():
        warn(f"error: {error}")
    if not report.done and not report.refused:
        warn("no jobs match")


def _code(report: "Report") -> int:
    from pgqueue.errors import JobNotFound

    if not all(isinstance(error, JobNotFound) for error in report.refused.values()):
        return FAILED
    return 0 if report.done and not report.refused else NOTHING_MATCHED
