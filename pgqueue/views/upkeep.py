"""What is kept after its end, for how long, and what of that is worth a warning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pgqueue.job import State
    from pgqueue.views.counts import Count

REACH: Final = 100_000
"""Of jobs that ended badly, as many are looked at to count those that are dead."""
MANY_DEAD: Final = 1000
OLD_DEAD: Final = 30 * 86_400.0
"""Dead jobs, and seconds, from which on it is worth a warning."""
OVERDUE: Final = 3600.0
"""Seconds that prune may be behind before that is worth one."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long jobs of a task are kept after their end.

    Attributes:
        task: `*` stands for all tasks without a rule of their own.
        keep: seconds; None for ever.
        set_by: "app", "operator" or "default"; what an operator has set, no app changes, and a
            default gives way to everybody.
    """

    task: str
    state: State
    keep: float | None
    set_by: str


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is kept, and whether prune keeps up.

    Attributes:
        dead: dead jobs, among the oldest 100,000 that ended badly.
        oldest_dead: seconds for which one of them has been dead; None without one.
        prune_ran: seconds since a worker looked for jobs to prune; None when none ever did.
        overdue: seconds for which the next jobs that prune will come to have been old enough.
    """

    dead: Count
    oldest_dead: float | None
    prune_ran: float | None
    overdue: float

    def warnings(self) -> list[str]:
        """What somebody should look at, a sentence each."""
        found = []
        if are_many_dead(self.dead.value, self.oldest_dead):
            found.append(dead_kept(self.dead, self.oldest_dead or 0.0))
        if self.overdue > OVERDUE:
            found.append(prune_behind(self.overdue))
        return found


def are_many_dead(count: int, oldest: float | None) -> bool:
    """Whether dead jobs that are kept are worth a warning: so many, or one dead for so long."""
    return count >= MANY_DEAD or (oldest or 0.0) > OLD_DEAD


def dead_kept(dead: Count, oldest: float) -> str:
    """The warning about dead jobs that are kept.

    Args:
        dead: how many.
        oldest: seconds for which one of them has been dead.
    """
    return (
        f"{dead} dead jobs are kept, one for {oldest / 86_400:.0f} days: requeue or delete them "
        "(pgqueue jobs list --state dead), or let them be pruned (pgqueue retention set '*' dead "
        "30d)"
    )


def prune_behind(overdue: float, rate: float | None = None) -> str:
    """The warning about a prune that does not keep up.

    Args:
        overdue: seconds for which the next jobs have been old enough.
        rate: jobs that it deletes in a second, where that is known.
    """
    pace = "" if rate is None else f", at {rate:.0f} jobs/s"
    return (
        f"prune is {overdue / 3600:.1f} h behind{pace}: the table grows; make tasks ephemeral, or "
        "look what slows the server down"
    )
