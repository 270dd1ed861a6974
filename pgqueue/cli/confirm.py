"""The question before something is deleted that nobody can bring back."""

import sys

import typer

from pgqueue.cli.failures import FAILED, USAGE
from pgqueue.cli.output import warn


def confirm(what: str) -> None:
    """Ask on a terminal whether to do it; the program ends here unless the answer is yes."""
    if not sys.stdin.isatty():
        warn(f"error: to {what} needs --yes where nobody can be asked")
        raise typer.Exit(USAGE)
    sys.stderr.write(f"{what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        warn("nothing was done")
        raise typer.Exit(FAILED)
