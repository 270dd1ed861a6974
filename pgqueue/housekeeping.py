"""What an operator does about retention: see it, set it, and prune by hand."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from pgqueue import store
from pgqueue.enqueue import contract
from pgqueue.job import FINAL_STATES
from pgqueue.pruning import Measure, Part, Table, Terms, Walk
from pgqueue.retention import ALL_TASKS, by_state
from pgqueue.views import RetentionRule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

    from pgqueue.client import OwnConnections
    from pgqueue.config import Settings
    from pgqueue.job import State
    from pgqueue.retention import Keep

BY_HAND: Final = "by hand"
ENDED_AS_MEANT: Final[tuple[State, ...]] = ("succeeded", "cancelled", "expired")
"""What goes by age alone unless somebody names dead jobs too."""


@dataclass(frozen=True, slots=True)
class Housekeeper:
    """Reads and writes how long jobs are kept, and prunes; each call for itself.

    Attributes:
        own: the app's own connections.
        settings: give the time limits.
    """

    own: OwnConnections
    settings: Settings

    def all(self) -> list[RetentionRule]:
        """What holds now, by task and state; `*` stands for all tasks without a rule of their own.

        Empty before a worker has ever started, or somebody has set anything.
        """
        return self._rules("retention_list", {})

    def set(self, task: str, state: State, keep: Keep) -> RetentionRule:
        """Set how long jobs are kept after their end, whatever apps say.

        Args:
            task: its name, or `*` for all tasks without a rule of their own.
            state: a final one.
            keep: seconds, or a timedelta; None for ever.

        Raises:
            InvalidName: not the name of a task.
            ConfigError: the state is not final, or the time is out of range.
        """
        [(state, seconds)] = by_state("retention", cast("Any", {state: keep})).items()
        values = {"task": _task(task), "state": state, "keep": seconds}
        [rule] = self._rules("retention_set", values)
        return rule

    def reset(self, task: str, state: State) -> bool:
        """Take back what was set; whether anything was.

        Then `*` holds, and after the next start of a worker what its app says. For `*` itself
        nothing is pruned in that state until then.
        """
        values = {"task": _task(task), "state": state}
        with self.own.transaction() as connection:
            return bool(store.execute(connection, "retention_reset", values).fetchall())

    def prune(
        self,
        *,
        older_than: float | timedelta | None = None,
        states: Collection[State] = (),
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> int:
        """Delete all jobs that are past their retention now, in many small transactions.

        Before any worker has ever started nobody has said what the retention is: nothing goes.

        Args:
            older_than: seconds, or a timedelta, since a job's end, whatever its retention says.
            states: only these; by default all by retention, and all but dead with `older_than`.
            on_progress: called with the number of jobs deleted so far.

        Returns:
            How many were deleted. Jobs that somebody had locked are left for the next time.

        Raises:
            ConfigError: a state is not final, or the time is out of range.
        """
        terms, gone, measure = _terms(older_than, states), 0, Measure()
        walk, newest = self._walk(terms)
        while walk is not None:
            began = time.monotonic()
            values = terms.values(walk, newest, measure) | {"name": "", "walk": walk.name}
            part = Part(*self._part("prune_part", values))
            measure.note(part, took := time.monotonic() - began)
            gone += part.gone
            on_progress(gone)
            walk = _further(walk, part.cursor, newest, young=part.young)
            time.sleep(took)  # half of the time: others work on this server too
        return gone

    def preview(
        self,
        *,
        older_than: float | timedelta | None = None,
        states: Collection[State] = (),
    ) -> Mapping[tuple[str, State], int]:
        """How many jobs `prune` would delete, by task and state; nothing is locked or written."""
        terms, measure = _terms(older_than, states), Measure()
        counts: Counter[tuple[str, State]] = Counter()
        walk, newest = self._walk(terms)
        while walk is not None:
            began = time.monotonic()
            values = terms.values(walk, newest, measure)
            seen, tasks, found, cursor, young = self._part("prune_preview", values)
            counts.update(zip(tasks, found, strict=True))
            measure.note(Part(seen, len(tasks), cursor, young, 0.0), time.monotonic() - began)
            walk = _further(walk, cursor, newest, young=young)
        return counts

    def _walk(self, terms: Terms) -> tuple[Walk | None, int]:
        """Where to begin, if anything can be old enough, and the newest id."""
        found = Table(*self._part("prune_begin", {"name": BY_HAND}))
        ages = [*found.keeps] if terms.older_than is None else [terms.older_than]
        if not ages or not found.newest:
            return None, 0
        badly = "succeeded" not in terms.states
        return Walk(BY_HAND, min(ages), 0, badly=badly), found.newest

    def _part(self, statement: str, values: dict[str, Any]) -> tuple[Any, ...]:
        with self.own.transaction() as connection:
            store.execute(connection, "limits", store.limits(self.settings))
            [row] = store.execute(connection, statement, values).fetchall()
        return cast("tuple[Any, ...]", row)

    def _rules(self, statement: str, values: dict[str, Any]) -> list[RetentionRule]:
        with self.own.transaction() as connection:
            return [RetentionRule(*row) for row in store.execute(connection, statement, values)]


def _further(walk: Walk, cursor: int, newest: int, *, young: bool) -> Walk | None:
    return None if young or cursor >= newest else replace(walk, after=cursor)


def _terms(older_than: Keep, states: Collection[State]) -> Terms:
    for state in states:
        by_state("states", cast("Any", {state: 0}))
    if older_than is None:
        return Terms(states or FINAL_STATES)
    seconds = by_state("older_than", older_than)["succeeded"]
    return Terms(states or ENDED_AS_MEANT, seconds)


def _task(task: str) -> str:
    return task if task == ALL_TASKS else contract.task_name(task)
