"""pgqueue worker: a supervisor and its workers."""

import dataclasses
import logging
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pgqueue.cli.options import Dsn
from pgqueue.config import MAX_SHARE
from pgqueue.errors import ConfigError

_QUEUE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,50}")


class LogLevel(StrEnum):
    """The levels of Python's logging, as they are typed."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"

    @property
    def number(self) -> int:
        """As logging wants it."""
        return logging.getLevelNamesMapping()[self.value.upper()]


class LogFormat(StrEnum):
    """Forms of the log's lines."""

    text = "text"
    json = "json"


def run_worker(
    *,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            "-A",
            metavar="MODULE:APP",
            help="The app. Without it: PGQUEUE_APP, or [tool.pgqueue] app in pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    queues: Annotated[
        str,
        typer.Option(
            "--queues", "-q", metavar="A,B=3", help="Queues to work on; =3 is three times a share."
        ),
    ] = "default",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Async handlers at the same time, in each process.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Plain handlers at the same time, in each process.")
    ] = None,
    children: Annotated[
        int | None,
        typer.Option(min=1, help='Handlers with executor="process" at once, in each process.'),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="A worker is replaced after about so many jobs.")
    ] = None,
    max_rss: Annotated[
        int | None, typer.Option(min=1, help="A worker is replaced above so many MiB of memory.")
    ] = None,
    shutdown_timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds that handlers get to end at a stop.")
    ] = None,
    poll_interval: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between two looks of an idle worker.")
    ] = None,
    listen: Annotated[
        bool | None,
        typer.Option(
            "--listen/--no-listen",
            help="Wake by LISTEN; polling goes on anyway.",
            show_default=False,
        ),
    ] = None,
    listen_dsn: Annotated[
        str | None, typer.Option(help="A direct connection for LISTEN, past a pooler.")
    ] = None,
    synchronous_commit: Annotated[
        bool | None,
        typer.Option(
            "--synchronous-commit/--no-synchronous-commit",
            help="Without: faster, and a crash of the server may make jobs run again.",
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="What the worker logs.")] = LogLevel.info,
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines for people, or one JSON object a line.")
    ] = LogFormat.text,
    dsn: Dsn = None,
) -> None:
    """Run jobs until SIGTERM or SIGINT.

    Handlers that run may end then, for the shutdown timeout; a second signal stops at once.

    Exit code 0: everything ended by itself; 1: handlers were cut off at the shutdown timeout.
    """
    import os

    from pgqueue.config import normalize_dsn
    from pgqueue.discovery import load_app
    from pgqueue.worker.supervisor import run

    loaded, name = load_app(app, cwd=Path.cwd(), environ=os.environ)
    asked = {
        "concurrency": concurrency,
        "threads": threads,
        "children": children,
        "max_jobs": max_jobs,
        "max_rss": max_rss,
        "shutdown_timeout": shutdown_timeout,
        "poll_interval": poll_interval,
        "listen": listen,
        "listen_dsn": listen_dsn,
        "synchronous_commit": synchronous_commit,
    }
    names, shares = _queues(queues)
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    code = run(
        app=name,
        app_dir=str(Path.cwd()),
        dsn=normalize_dsn(dsn) if dsn else loaded.dsn,
        queues=names,
        settings=dataclasses.replace(
            loaded.settings, shares={**loaded.settings.shares, **shares}, **given
        ),
        processes=processes,
        log_level=log_level.number,
        log_format=log_format.value,
    )
    raise typer.Exit(code)


def _queues(text: str) -> tuple[list[str], dict[str, int]]:
    """The queues that were named, and the shares that were given."""
    names, shares = [], {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, share = part.partition("=")
        if not _QUEUE.fullmatch(name):
            raise ConfigError(
                f"--queues: {name!r} is not a queue's name: 1 to 50 of A-Z a-z 0-9 _ . : -"
            )
        if equals and not (share.isascii() and share.isdigit() and 1 <= int(share) <= MAX_SHARE):
            raise ConfigError(f"--queues: {part!r}: a share is a whole number, 1 to {MAX_SHARE}")
        names.append(name)
        if equals:
            shares[name] = int(share)
    if not names:
        raise ConfigError(f"--queues {text!r} names no queue")
    return names, shares
