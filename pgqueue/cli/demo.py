"""pgqueue demo: the demo has a command line of its own."""

from typing import Any, Final

import typer

SETTINGS: Final[dict[str, Any]] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}


def demo(context: typer.Context) -> None:
    """Watch real jobs run, a worker die, and the sums hold."""
    from pgqueue.demo.command import run

    raise typer.Exit(run(context.args))
