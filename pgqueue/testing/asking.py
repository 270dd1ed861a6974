"""What the rules of testing ask for: statements as plain text, and attempts to run. Pure.

The rules are generators that ask, and are answered by a test's connection, be it sync or async: so
there is one of each. A statement carries its values as literals, because no two drivers agree on
how placeholders are written, and all of them leave a text without parameters as it is.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pgqueue import store
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from pgqueue.hooks import Hook, JobEvent
    from pgqueue.worker.parts import Attempt

T = TypeVar("T")


class Ask(NamedTuple):
    """Run a statement; answered with its rows."""

    sql: str


class Run(NamedTuple):
    """Run a handler; answered with what came of it, a `Performed`."""

    attempt: Attempt


class Tell(NamedTuple):
    """Call a hook; answered with what it raised, or None."""

    hook: Hook
    event: JobEvent


Asking = Generator["Ask | Run | Tell", Any, T]

_place: Final = re.compile(r"%\((\w+)\)s|%%")
_CLAIM_ALL: Final = "where job.state = 'ready'"
_CLAIM_ONE: Final = "where job.id = %(only)s and job.state = 'ready'"


def ask(name: str, /, **values: Any) -> Ask:
    """The statement in sql/NAME.sql with these values."""
    return Ask(filled(store.statement(name).decode(), values))


def ask_claim(**values: Any) -> Ask:
    """The workers' own claim, which looks at one job alone."""
    claim = store.statement("claim").decode()
    if claim.count(_CLAIM_ALL) != 1:
        raise PgQueueError(
            f"claim.sql has no {_CLAIM_ALL!r} any more: pgqueue.testing builds on it"
        )
    return Ask(filled(claim.replace(_CLAIM_ALL, _CLAIM_ONE), values))


def filled(text: str, values: dict[str, Any]) -> str:
    """A statement with literals in place of its placeholders."""
    return _place.sub(
        lambda found: literal(values[found[1]]) if found[1] else "%",
        text,
    )


def literal(value: str | float | bool | None) -> str:
    """A value as SQL text that is read alike whatever `standard_conforming_strings` says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in value else f"'{quoted}'"
