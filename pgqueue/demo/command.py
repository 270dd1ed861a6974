"""The command line of `pgqueue demo`."""

from __future__ import annotations

import random
import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pgqueue.demo import demonstration, report
from pgqueue.demo.database import Place, opened
from pgqueue.demo.demonstration import Plan
from pgqueue.demo.documents import DEFAULT_LIMIT, FEWEST
from pgqueue.demo.repeat import DEFAULT_LIMIT as REPEATED_LIMIT, repeat as run_repeatedly
from pgqueue.demo.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HELD: Final = 0
FAILED: Final = 1

program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(arguments: Sequence[str]) -> int:
    """Run `pgqueue demo` with these arguments; the exit code: 0 when every line held.

    Raises:
        PgQueueError: it could not be run; the message says why.
    """
    code = program(args=list(arguments), prog_name="pgqueue demo", standalone_mode=False)
    return int(code or HELD)


@program.command()
def demo(
    *,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Text files to work on. Without it: the sources of the Python that runs this.",
            show_default=False,
        ),
    ] = None,
    dsn: Annotated[
        str | None,
        typer.Option(
            help="A database to work in (schemas pgqueue and pgqueue_demo). Without it: an "
            "embedded server, whatever the environment says.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=2, max=64, help="Worker processes.")] = 2,
    limit: Annotated[
        int | None,
        typer.Option(
            min=FEWEST,
            help=f"Documents at most; {DEFAULT_LIMIT}, or {REPEATED_LIMIT} with --repeat.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Repeats the choices of an earlier run.", show_default=False),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the embedded server running, to look around.")
    ] = False,
    repeat: Annotated[
        int | None,
        typer.Option(min=1, help="So many times, until it fails.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run in a database that holds jobs of others.")
    ] = False,
) -> int:
    """Watch real jobs run on real documents, a worker die, and the sums hold.

    Each document is written and its job enqueued in one transaction; some roll back, some jobs
    fail. One worker is killed while it runs jobs. Then everything is reconciled, in SQL.
    """
    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    count = limit or (DEFAULT_LIMIT if repeat is None else REPEATED_LIMIT)
    plan = Plan.make(folder, seed=chosen, limit=count, workers=workers)
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="pgqueue-demo-log-") as logs,
        opened(dsn, keep=keep, force=force) as place,
    ):
        log = Path(logs, "workers.log")
        if repeat is None:
            holds = _once(plan, place, log)
        else:
            holds = run_repeatedly(repeat, plan, place, log)
    return HELD if holds else FAILED


def _once(plan: Plan, place: Place, log: Path) -> bool:
    screen = Screen()
    count = len(plan.documents)
    screen.show(
        f"{count:,} documents, {plan.workers} workers, seed {plan.seed}; "
        f"a worker is to be killed at document {plan.kill_at:,}"
    )
    dsn = place.fresh()
    screen.say("the server is ready")
    result = demonstration.run(plan, dsn, log, screen)
    place.keep |= not result.holds
    report.sums(screen, result)
    if not place.keep:
        report.highlights(screen, dsn)
    report.verdict(screen, result, plan.command())
    report.where_to_look(screen, place, dsn)
    return result.holds


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does: with nothing left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
