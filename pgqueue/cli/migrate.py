"""pgqueue migrate: the schema, up, down, or as SQL for somebody else to run."""

from typing import Annotated

import typer

from pgqueue.cli.failures import SCHEMA, USAGE
from pgqueue.cli.options import Dsn, Json, Yes
from pgqueue.cli.output import print_json, say, warn
from pgqueue.errors import ConfigError

group = typer.Typer(help="Install, upgrade or remove the schema.", invoke_without_command=True)

LockTimeout = Annotated[
    float, typer.Option("--lock-timeout", min=0.001, help="Seconds to wait for each lock.")
]


@group.callback()
def migrate(
    context: typer.Context,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL; touch no database.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 4 if the schema is not current.")
    ] = False,
    to: Annotated[str, typer.Option("--to", metavar="REV", help="Stop at a revision.")] = "head",
    lock_timeout: LockTimeout = 10.0,
    dsn: Dsn = None,
) -> None:
    """Bring the schema up to date. Running it again changes nothing."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        context.obj = dsn
    elif sql and check:
        raise ConfigError("--sql touches no database, so --check has nothing to look at")
    elif sql:
        _print_sql(to)
    elif check:
        _check(dsn)
    else:
        _upgrade(dsn, to, lock_timeout)


def _refuse_options(context: typer.Context) -> None:
    """Of what stands before a subcommand only --dsn counts: `--sql down` must not run it."""
    for name in ("sql", "check", "to", "lock_timeout"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(
                f"--{name.replace('_', '-')} is not for migrate {context.invoked_subcommand}; "
                "what the subcommand takes comes after its name"
            )


def _print_sql(to: str) -> None:
    from pgqueue import migrate as migrations

    typer.echo(migrations.sql(to=to), nl=False)


def _check(dsn: str | None) -> None:
    from pgqueue import migrate as migrations

    found = migrations.status(_resolved(dsn))
    if found.state != "current":
        warn(f"the schema is {found.state}: at {found.current or 'nothing'}, wanted {found.head}")
        raise typer.Exit(SCHEMA)
    say(f"the schema is current: {found.head}")


def _upgrade(dsn: str | None, to: str, lock_timeout: float) -> None:
    from pgqueue import migrate as migrations

    resolved = _resolved(dsn)
    before = migrations.status(resolved)
    changed = migrations.upgrade(resolved, to=to, lock_timeout=lock_timeout)
    after = migrations.status(resolved)
    if not changed:
        say(f"nothing to do: the schema is at {after.current}")
    else:
        say(f"migrated from {before.current or 'nothing'} to {after.current}")


@group.command()
def status(context: typer.Context, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show where the schema stands, and what a migration would run."""
    from pgqueue import migrate as migrations

    found = migrations.status(_resolved(dsn or context.obj))
    if as_json:
        print_json(found)
        return
    say(f"state:   {found.state}\ncurrent: {found.current or '-'}\nhead:    {found.head}")
    for revision, title in found.pending:
        say(f"pending: {revision} {title}")


Role = Annotated[list[str] | None, typer.Option(metavar="ROLE", help="May be given again.")]


@group.command()
def grants(
    reader: Role = None, producer: Role = None, waiter: Role = None, worker: Role = None
) -> None:
    """Print the GRANTs that roles need. For a DBA to run; touches no database."""
    from pgqueue import grants as rights

    kinds = (
        (rights.reader, reader),
        (rights.producer, producer),
        (rights.waiter, waiter),
        (rights.worker, worker),
    )
    lines = [line for of, roles in kinds for role in roles or () for line in of(role)]
    if not lines:
        raise ConfigError("name a role: --reader, --producer, --waiter or --worker")
    typer.echo("\n".join(dict.fromkeys(lines)))


@group.command()
def down(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="A revision, or base.")],
    yes: Yes = False,
    lock_timeout: LockTimeout = 10.0,
    dsn: Dsn = None,
) -> None:
    """Go back to an older schema. 'base' removes it with every job in it."""
    from pgqueue import migrate as migrations

    if not yes:
        warn(f"going down to {revision} can delete jobs: say --yes if you mean it")
        raise typer.Exit(USAGE)
    migrations.downgrade(_resolved(dsn or context.obj), revision, lock_timeout=lock_timeout)
    say(f"the schema is at {revision}")


def _resolved(dsn: str | None) -> str:
    import os

    from pgqueue.config import resolve_dsn

    return resolve_dsn(dsn, os.environ)
