"""`flask pgqueue ...`: the whole command line, on the application's database and tasks."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click
from flask import Flask, current_app, has_app_context
from flask.cli import ScriptInfo, with_appcontext

from pgqueue.app import PgQueue
from pgqueue.config import DSN_VARIABLES
from pgqueue.discovery import APP_VARIABLE
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTENSION: Final = "pgqueue"
"""The key in `app.extensions`."""
FLASK_APP: Final = "FLASK_APP"
SPEC: Final = f"{__package__}:flask_queue"


def flask_queue() -> PgQueue:
    """The queue of the current Flask application, or of the one that FLASK_APP names.

    It is what a worker imports: `pgqueue worker -A pgqueue.contrib.flask:flask_queue` calls your
    factory, as `flask run` does.

    Raises:
        ConfigError: that application has no queue.
        NoAppException: Flask finds no application.
    """
    if has_app_context():
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's documented way
    else:
        app = ScriptInfo(app_import_path=os.environ.get(FLASK_APP)).load_app()
    queue = app.extensions.get(EXTENSION)
    if not isinstance(queue, PgQueue):
        raise ConfigError(f"{app!r} has no queue: call PgQueueFlask().init_app(app)")
    return queue


def command() -> click.Command:
    """The command, for `app.cli`; what follows its name is for pgqueue's own command line."""
    return click.Command(
        "pgqueue",
        callback=with_appcontext(_run),
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        add_help_option=False,
        help="Jobs: workers, migrations, and what the command `pgqueue` has besides.",
    )


def _run(arguments: Sequence[str]) -> None:
    from pgqueue.cli import main  # noqa: PLC0415 - `flask run` needs no command line of ours

    context = click.get_current_context()
    _name_app(context.ensure_object(ScriptInfo))
    context.exit(main(list(arguments)))


def _name_app(info: ScriptInfo) -> None:
    """Tell the command, and the worker processes it starts, the database and the application.

    By the environment, which they inherit: a password must not stand on a command line. An
    application that only a script's own `FlaskGroup(create_app=...)` can make has no name that
    another process could import; there, -A must give one.
    """
    with suppress(ConfigError):  # the command says so, if it needs a database
        if dsn := flask_queue().dsn:
            os.environ[DSN_VARIABLES[0]] = dsn
    if info.app_import_path is not None:
        os.environ[FLASK_APP] = info.app_import_path
    if info.app_import_path is not None or info.create_app is None:
        os.environ.setdefault(APP_VARIABLE, SPEC)
