"""Which jobs a command is about: the options that choose them, and times as people type them."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from pgqueue.views import JobFilter

MOST: Final = 2**31 - 1
"""The largest limit that can be asked for."""

States = Annotated[
    list[str] | None, typer.Option("--state", help="Jobs in this state. Repeatable.")
]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", help="Jobs of this queue. Repeatable.")
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Jobs of this task. Repeatable.")]
Fingerprints = Annotated[
    list[str] | None,
    typer.Option("--fingerprint", help="Ended by this error; see jobs groups. Repeatable."),
]
ErrorTypes = Annotated[
    list[str] | None,
    typer.Option("--error-type", help="Ended by this type of error. Repeatable."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Ended then or later: 2h (ago), or ISO 8601."),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Ended before; as --since.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, max=MOST, help="At most so many.")]
All = Annotated[
    bool, typer.Option("--all", help="All that match; without a filter, all there are.")
]

_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])").fullmatch
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def job_filter(
    *,
    states: list[str] | None,
    queues: list[str] | None,
    tasks: list[str] | None,
    fingerprints: list[str] | None,
    error_types: list[str] | None,
    since: str | None,
    until: str | None,
) -> "JobFilter":
    """The filter that these options mean.

    Raises:
        ConfigError: one of them cannot be meant.
    """
    from pgqueue.views import JobFilter

    wanted: dict[str, Any] = {
        "states": states,
        "queues": queues,
        "tasks": tasks,
        "fingerprints": fingerprints,
        "error_types": error_types,
        # An empty one is a mistake, such as a variable that is not set, and never "all".
        "since": None if since is None else moment("--since", since),
        "until": None if until is None else moment("--until", until),
    }
    return JobFilter(**{name: value for name, value in wanted.items() if value})


def moment(option: str, text: str) -> datetime:
    """A time: so long ago (90s, 15m, 2h, 7d), or ISO 8601, in the local zone unless it says one.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if found := _SPAN(text):
            return datetime.now().astimezone() - _length(found)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text!r}: expected how long ago, such as 90s, 15m, 2h or 7d, or a time such "
            "as 2026-11-22T03:00"
        ) from None


def span(option: str, text: str) -> timedelta:
    """A length of time: 90s, 15m, 2h, 7d.

    Raises:
        ConfigError: it is none.
    """
    if (found := _SPAN(text)) is None:
        raise ConfigError(f"{option} {text!r}: expected a length such as 90s, 15m, 2h or 7d")
    return _length(found)


def _length(found: "re.Match[str]") -> timedelta:
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
