"""pgqueue enqueue: jobs from a shell; the application's code is not needed."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from pgqueue.cli import piped
from pgqueue.cli.options import Dsn, Json, database
from pgqueue.cli.output import counted, print_json, say
from pgqueue.errors import ConfigError

CHUNK = 10_000
"""Documents of one statement."""

SHOWN = 200
"""Characters of what is not JSON that an error shows."""


def enqueue(
    task: Annotated[str, typer.Argument(help="The task's name; - reads jobs from standard input.")],
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="An object, by name.")] = "{}",
    *,
    queue: Annotated[str | None, typer.Option(help="[default: default]")] = None,
    priority: Annotated[int | None, typer.Option(help="-100 to 100. [default: 0]")] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds until the job is due.")] = None,
    run_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601, with an offset.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not started by then, it expires.")
    ] = None,
    ttl: Annotated[
        float | None, typer.Option(help="The same in seconds from when the job is due.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Unique by this key, until the job has ended.")
    ] = None,
    key_scope: Annotated[str | None, typer.Option(help="[default: the task]")] = None,
    unique_for: Annotated[
        float | None, typer.Option(help="Seconds for which the key is held instead.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="finished|started", help="Held until then.")
    ] = None,
    on_conflict: Annotated[
        str | None,
        typer.Option(
            metavar="existing|raise|replace|reschedule",
            help="What happens when the key is held. [default: existing]",
        ),
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="[default: 8]")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for each attempt.")] = None,
    meta: Annotated[
        str | None, typer.Option(metavar="JSON", help="An object, kept with the job.")
    ] = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Enqueue a job by its task's name, in a transaction of its own.

    With - jobs come from standard input, as an array or one a line, in the form of docs/enqueue.md;
    all are enqueued or none.
    """
    options = {
        "queue": queue,
        "priority": priority,
        "delay": delay,
        "run_at": run_at,
        "expires_at": expires_at,
        "ttl": ttl,
        "key": key,
        "key_scope": key_scope,
        "unique_for": unique_for,
        "until": until,
        "on_conflict": on_conflict,
        "max_attempts": max_attempts,
        "timeout": timeout,
        "meta": meta,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if task == "-":
        _refuse(given, args)
        _from_stdin(dsn, as_json)
    else:
        _one(dsn, task, args, given, as_json)


def _refuse(given: dict[str, Any], args: str) -> None:
    if given or args != "{}":
        raise ConfigError("jobs from standard input carry their own options and arguments")


def _one(dsn: str | None, task: str, args: str, given: dict[str, Any], as_json: bool) -> None:
    from pgqueue.job import NewJob

    for name in ("run_at", "expires_at"):
        if name in given:
            given[name] = _time(f"--{name.replace('_', '-')}", given[name])
    if "meta" in given:
        given["meta"] = json_object(given["meta"], "--meta")
    job = NewJob(task=task, args=json_object(args), **given)
    with database(dsn) as app:
        handle = app.producer(None).one(job)
    if as_json:
        print_json(handle)
    elif handle.created:
        say(f"enqueued job {handle.id}")
    elif handle.changed:
        say(f"{handle.changed} job {handle.id}, which holds this key")
    else:
        say(f"job {handle.id} holds this key already: nothing was enqueued")


def json_object(text: str, option: str = "--args") -> dict[str, Any]:
    """What an option says; ConfigError when it is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{option} {_cut(text)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f'{option} {_cut(text)}: expected an object such as {{"id": 1}}')
    return value


def _cut(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _time(option: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigError(
            f"{option} {text!r} is not a time with its offset, such as 2030-01-31T09:00:00+00:00"
        )
    return time


def _from_stdin(dsn: str | None, as_json: bool) -> None:
    documents = _documents("".join(piped.lines()))
    with database(dsn) as app:
        answers = app.producer(None).send(_chunks(documents))
    handles = [handle for answer in answers for handle in json.loads(answer)]
    if as_json:
        print_json(handles)
    else:
        created = sum(handle["created"] for handle in handles)
        existing = len(handles) - created
        more = f"; {existing} existed already" if existing else ""
        say(f"enqueued {counted(created)}{more}")


def _documents(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(_parsed(text, "standard input"))
    # Not splitlines: JSON may hold U+2028 and other ends of lines as they are.
    lines = enumerate(text.split("\n"), 1)
    return [_parsed(line, f"line {number}") for number, line in lines if line.strip()]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON; pass null or text")


def _chunks(documents: list[Any]) -> Iterator[str]:
    """The documents as they are: the SQL function is the contract, and checks each."""
    for start in range(0, len(documents), CHUNK):
        yield json.dumps(documents[start : start + CHUNK])
