"""The rules of pruning in a test: what a worker would delete by now. They only ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import store
from pgqueue.pruning import BY_RETENTION, Measure, Part, Table, Walk, announcement
from pgqueue.testing.asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgqueue.app import PgQueue
    from pgqueue.testing.asking import Asking

NAME: Final = "pgqueue.testing"
"""Under this no walk is noted: each begins at the first job."""


def pruning(app: PgQueue) -> Asking[int]:
    """Say what the app says of retention, as a worker does, and prune; how many jobs went."""
    said = announcement(app.settings, [(task.name, task.retention) for task in app.tasks.values()])
    yield ask("retention_write", **{name: _array(values) for name, values in said.items()})
    found = Table._make((yield ask("prune_begin", name=NAME))[0])
    walk = Walk(NAME, min(found.keeps), 0) if found.keeps else None
    gone = 0
    while walk is not None:
        values = BY_RETENTION.values(walk, found.newest, Measure())
        values |= {"states": _array(values["states"]), "name": NAME, "walk": NAME}
        part = Part._make((yield ask("prune_part", **values))[0])
        gone += part.gone
        done = part.young or part.cursor >= found.newest
        walk = None if done else Walk(NAME, walk.young, part.cursor)
    return gone


def _array(values: Iterable[str | float | None]) -> str:
    return store.array("null" if value is None else f'"{value}"' for value in values)
