"""Options that several commands share, and the database that they name."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from pgqueue.app import PgQueue


def _not_empty(dsn: str | None) -> str | None:
    # As of a variable that is not set: never the other database, which the environment names.
    if dsn is not None and not dsn.strip():
        raise ConfigError("--dsn is empty: expected a database such as postgresql://user@host/shop")
    return dsn


Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        callback=_not_empty,
        help="The database. Without it: PGQUEUE_DATABASE_URL, DATABASE_URL, PGHOST ...",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def database(dsn: str | None) -> "PgQueue":
    """An app without tasks on the database, whose schema was found to be supported.

    Raises:
        ConnectionFailed: the database does not answer.
        SchemaError: its schema is missing, behind or newer.
    """
    from contextlib import closing

    from pgqueue import connections, revision
    from pgqueue.app import PgQueue

    app = PgQueue(dsn)
    with closing(connections.connect(app.dsn, app.settings, "cli")) as connection:
        revision.check(connection)
    return app
