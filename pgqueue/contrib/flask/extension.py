"""The extension: a PgQueue that takes its configuration, and its handlers' context, from Flask."""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pgqueue.app import PgQueue
from pgqueue.client import OwnConnections
from pgqueue.config import DSN_VARIABLES, Settings, resolve_dsn
from pgqueue.contrib.flask.command import EXTENSION, command
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask import Flask

    from pgqueue.context import JobContext

PREFIX: Final = "PGQUEUE_"
DATABASE_URL: Final = DSN_VARIABLES[0]
"""As a key of Flask's config, and as a variable of the environment."""


class PgQueueFlask(PgQueue):
    """A PgQueue for a Flask application; everything else is as there.

    Handlers run in the application's context, so `current_app`, extensions and Flask-SQLAlchemy's
    `db.session` work in them; the context ends with the job, which removes the session. A task that
    is called directly is the function alone, in the caller's context.

    From Flask's config come PGQUEUE_DATABASE_URL and one key for each of `Settings`, such as
    PGQUEUE_THREADS. Without PGQUEUE_DATABASE_URL, there or in the environment, the database is that
    of Flask-SQLAlchemy (SQLALCHEMY_DATABASE_URI), and without that the environment's.

    Args:
        app: as for `init_app`, which can be called later.
        dsn: goes before every configuration.
        settings: what the config does not say.
    """

    def __init__(
        self, app: Flask | None = None, *, dsn: str | None = None, settings: Settings | None = None
    ) -> None:
        super().__init__(dsn, settings=settings)
        self._given_settings = self.settings
        self._flask: Flask | None = None
        self.middleware(self._in_context)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Work for this Flask application from now on, and give it `flask pgqueue`.

        Another application, such as that of the next test, takes the place of the one before.

        Raises:
            ConfigError: the config has a PGQUEUE_ key that is no setting, or a value that cannot
                work.
        """
        self.settings = _settings(app.config, self._given_settings)
        self.close()
        self._own = OwnConnections(lambda: self.dsn, self.settings)
        self._producer = self.producer(None)
        self.__dict__.pop("inspector", None)
        self._flask = app
        app.extensions[EXTENSION] = self
        app.cli.add_command(command())

    @property
    def dsn(self) -> str:
        config = self._flask.config if self._flask is not None else {}
        named = (
            self._given_dsn,
            config.get(DATABASE_URL),
            os.environ.get(DATABASE_URL),
            config.get("SQLALCHEMY_DATABASE_URI"),
        )
        return resolve_dsn(next((_text(dsn) for dsn in named if dsn), None), os.environ)

    @contextmanager
    def _in_context(self, _context: JobContext) -> Iterator[None]:
        if self._flask is None:
            raise ConfigError(
                "this PgQueueFlask belongs to no Flask application: call init_app(app) before "
                "tasks run; a worker calls your factory when it is started as `flask pgqueue "
                "worker`, or with -A pgqueue.contrib.flask:flask_queue and FLASK_APP set"
            )
        with self._flask.app_context():
            yield


def _text(dsn: Any) -> str:
    """A DSN as text; SQLAlchemy's URL objects hide the password in their own."""
    return str(dsn.render_as_string(hide_password=False)) if hasattr(dsn, "drivername") else dsn


def _settings(config: Mapping[str, Any], given: Settings) -> Settings:
    known = {f"{PREFIX}{field.name.upper()}": field.name for field in dataclasses.fields(Settings)}
    named = [key for key in config if key.startswith(PREFIX) and key != DATABASE_URL]
    for key in named:
        if key not in known:
            raise ConfigError(
                f"Flask's config has {key!r}, which is no setting of pgqueue: expected "
                f"{', '.join(sorted([*known, DATABASE_URL]))}"
            )
    return dataclasses.replace(given, **{known[key]: config[key] for key in named})
