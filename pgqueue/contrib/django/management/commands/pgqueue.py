"""manage.py pgqueue: the command line of pgqueue, on the project's database."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError

from pgqueue.cli import main
from pgqueue.config import DSN_VARIABLES
from pgqueue.contrib.django import reloading
from pgqueue.contrib.django.configuration import (
    DATABASE_VARIABLE,
    PATH_VARIABLE,
    configuration,
    dsn_of,
    queues,
)
from pgqueue.discovery import APP_VARIABLE
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT: Final = "pgqueue.contrib.django.boot"


class Command(BaseCommand):
    """Runs any command of pgqueue with the DSN of DATABASES and the project's tasks."""

    help = (
        "pgqueue's own command line on the project's database: worker, status, jobs, enqueue, "
        "migrate, ... `manage.py pgqueue -- --help` lists them."
    )
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The database, and then whatever pgqueue's command line takes."""
        parser.add_argument(
            "--database", help="The alias of the database; by default PGQUEUE['DATABASE']."
        )
        parser.add_argument("command_line", nargs=argparse.REMAINDER, metavar="COMMAND ...")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the command line; its exit code is ours.

        Raises:
            CommandError: called from code, and it did not end with 0.
        """
        given: list[str] = list(options["command_line"])
        if given[:1] == ["--"]:
            del given[0]
        try:
            alias = options["database"] or configuration().database
            if given[:1] == ["worker"] and reloading.FLAG in given:
                sys.exit(reloading.run())
            with _environment(alias):
                code = main(_with_queues(given, alias), program_name="manage.py pgqueue")
        except ConfigError as error:
            raise CommandError(str(error), returncode=2) from None
        if code and not self._called_from_command_line:
            raise CommandError(f"pgqueue {' '.join(given)}: exit code {code}", returncode=code)
        if code:
            sys.exit(code)


@contextmanager
def _environment(alias: str) -> Iterator[None]:
    """What tells the command line, and the workers that it starts, about the project."""
    ours = {
        DSN_VARIABLES[0]: dsn_of(alias),
        APP_VARIABLE: BOOT,
        DATABASE_VARIABLE: alias,
        PATH_VARIABLE: os.pathsep.join(filter(None, sys.path)),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _with_queues(given: list[str], alias: str) -> list[str]:
    """A worker that is told nothing works every queue that TASKS allows on its database."""
    told = any(word in {"-q", "--queues", "--help"} or word[:9] == "--queues=" for word in given)
    if given[:1] != ["worker"] or told:
        return given
    return [*given, "--queues", ",".join(queues(alias))]
