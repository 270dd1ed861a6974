"""Prune: deletes jobs that are past their retention, a part at a time along the primary key.

A job cannot be past its retention before it is that old itself. So for each time for which some
jobs are kept there is a *front*, which follows the jobs that have just become that old, and stops
before the first that is younger: in a steady flow each job is looked at once for each such time,
when it is due, and never by looking for it. What ended long after it was made (delayed, retried,
requeued, stuck behind a backlog) is found by the *sweep*, which walks all old jobs, rarely.

Times for which no success is kept need no front, for few jobs are dead, cancelled or expired, and
those have an index: a sweep of its own walks along that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue import store
from pgqueue.job import FINAL_STATES
from pgqueue.retention import ALL_TASKS, DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.job import State

STEP: Final = "prune"
"""The step's name, under which the walks note how far they came."""
SWEEP: Final = "sweep"
BADLY: Final = "badly"
"""The sweep of what ended badly: dead, cancelled or expired."""

LEAST: Final = 100
MOST: Final = 2000
"""Jobs in one transaction."""
GOAL: Final = 0.02
"""Seconds that one transaction should take: what it locks is free again by then."""
NARROW: Final = 10_000
WIDE: Final = 10_000_000
"""Ids in one part: a part of ids that are gone has no jobs, but index entries to pass."""
LAG: Final = 0.05
SHORTEST_LAG: Final = 60.0
LONGEST_LAG: Final = 600.0
"""A walk stays behind its time by that share of it, from a minute to ten: most jobs have ended by
then, so that the sweep has little to find."""


class Part(NamedTuple):
    """What one transaction did.

    Attributes:
        seen: jobs that it looked at.
        gone: jobs that it deleted.
        cursor: the next part begins after this id.
        young: it met a job that is too young.
        overdue: seconds for which the last job that it looked at has been old enough.
    """

    seen: int
    gone: int
    cursor: int
    young: bool
    overdue: float


@dataclass(frozen=True, slots=True)
class Walk:
    """One way along the jobs: a front, or a sweep.

    Attributes:
        name: under which it is noted.
        young: the age in seconds below which jobs are none of its business.
        after: where it goes on.
        badly: along the jobs that ended badly, and no others.
    """

    name: str
    young: float
    after: int
    badly: bool = False


class Table(NamedTuple):
    """Where prune stands.

    Attributes:
        place: ids by walk, and when each sweep may begin again.
        newest: no job has a larger id.
        keeps: every time, in seconds, for which some jobs are kept.
        successes: those for which some successes are kept.
        now: seconds by the database's clock.
    """

    place: Mapping[str, float]
    newest: int
    keeps: Sequence[float]
    successes: Sequence[float]
    now: float

    def fronts(self) -> list[Walk]:
        """The fronts, that of the shortest time first: it has the most to do."""
        return [
            Walk(name, keep + lag(keep), int(self.place.get(name, 0)))
            for keep in sorted(self.successes)
            for name in [f"{keep:.3f}".rstrip("0").rstrip(".")]
        ]

    def sweeps(self) -> list[Walk]:
        """The sweeps that do not rest, the shorter one first."""
        sweeps = []
        if set(self.keeps) - set(self.successes):
            sweeps.append(Walk(BADLY, min(self.keeps), int(self.place.get(BADLY, 0)), badly=True))
        if self.successes:
            least = min(self.successes)
            sweeps.append(Walk(SWEEP, least + lag(least), int(self.place.get(SWEEP, 0))))
        return [
            walk for walk in sweeps if self.now >= self.place.get(f"{walk.name} rests until", 0)
        ]


def lag(keep: float) -> float:
    """Seconds for which a walk stays behind."""
    return min(max(keep * LAG, SHORTEST_LAG), LONGEST_LAG)


class Measure:
    """How much one part takes on, by how long the last one took."""

    def __init__(self) -> None:
        self.size, self.span = LEAST * 5, NARROW

    def note(self, part: Part, took: float) -> None:
        """Take on more when it was fast, and less at once when it was not."""
        if took > GOAL:
            self.size = max(int(self.size * max(GOAL / took, 0.25)), LEAST)
        elif part.seen >= self.size:
            self.size = min(int(self.size * 1.5) + 1, MOST)
        if took > 4 * GOAL:
            self.span = max(self.span // 4, NARROW)
        elif took < GOAL and part.seen < self.size:
            self.span = min(self.span * 2, WIDE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is pruned: by the table of retentions, or all of some states that ended long ago.

    Attributes:
        states: no other jobs go.
        older_than: seconds since their end, instead of their retention.
    """

    states: Collection[State] = FINAL_STATES
    older_than: float | None = None

    def values(self, walk: Walk, newest: int, measure: Measure) -> dict[str, Any]:
        """The parameters of a part."""
        return {
            "after": walk.after,
            "until": max(min(walk.after + measure.span, newest), walk.after),
            "size": measure.size,
            "newest": newest,
            "young": walk.young,
            "older_than": self.older_than,
            "states": list(self.states),
            "badly": walk.badly,
        }


BY_RETENTION: Final = Terms()


def part(
    connection: Connection,
    settings: Settings,
    walk: Walk,
    newest: int,
    measure: Measure,
    *,
    terms: Terms = BY_RETENTION,
) -> Part:
    """Prune the next jobs of a walk, in a transaction of its own, and note how far it came."""
    values = terms.values(walk, newest, measure) | {"name": STEP, "walk": walk.name}
    began = time.monotonic()
    [row] = store.run(connection, settings, "prune_part", values)
    done = Part(*row)
    measure.note(done, time.monotonic() - began)
    return done


def table(connection: Connection, settings: Settings) -> Table:
    """Where prune stands."""
    [row] = store.run(connection, settings, "prune_begin", {"name": STEP})
    return Table(*row)


def announce(
    connection: Connection,
    settings: Settings,
    tasks: Iterable[tuple[str, Mapping[State, float | None]]],
) -> None:
    """Write what an app says: its settings for all tasks, and what its tasks say of themselves."""
    store.run(connection, settings, "retention_write", announcement(settings, tasks))


def announcement(
    settings: Settings, tasks: Iterable[tuple[str, Mapping[State, float | None]]]
) -> dict[str, list[Any]]:
    """The parameters of retention_write.sql.

    The defaults are written as such for what nobody has said anything of.
    """
    own = list(tasks)
    unsaid = {state: keep for state, keep in DEFAULTS.items() if state not in settings.keeps}
    said = [("default", ALL_TASKS, unsaid), ("app", ALL_TASKS, settings.keeps)]
    said += [("app", name, keeps) for name, keeps in own]
    rows = [(who, name, state, keep) for who, name, keeps in said for state, keep in keeps.items()]
    names = ("set_by", "tasks", "states", "keeps")
    values = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return values | {"known": [name for name, _ in own]}
