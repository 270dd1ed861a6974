"""Options that several commands share, and the database that they name."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pgqueue.app import PgQueue

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
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
